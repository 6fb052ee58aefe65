"""What the API answers with. Times are RFC 3339 in UTC; scores are probabilities from 0 to 1."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, computed_field

from api.money import major

Item = TypeVar("Item")


class Reply(BaseModel):
    """Read off the store's rows, whose attributes have the same names."""

    model_config = ConfigDict(from_attributes=True)


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    data: list[Item]
    next: str | None = Field(description="`after` of the next page; null at the end")


class ReasonReply(Reply):
    """One reason of a decision."""

    code: str
    weight: float
    text: str


class Amount(Reply):
    """An amount of money."""

    amount_minor: int = Field(description="in minor units of the currency")
    currency: str = Field(description="ISO 4217")

    @computed_field(description="the same in major units as decimal text; null: not known")  # type: ignore[prop-decorator]
    @property
    def amount(self) -> str | None:
        """The amount in major units."""
        return major(self.amount_minor, self.currency)


class DecisionReply(Amount):
    """A decision."""

    transaction_id: str
    event_time: datetime
    card_token: str
    terminal_id: str
    score: float
    decision: str
    reasons: list[ReasonReply]
    model_version: str
    policy_version: str
    scored_at: datetime


class FeatureReply(Reply):
    """One input of the model."""

    name: str | None = Field(description="null where the model is of another release")
    value: float | None = Field(description="null where it is no number")


class LabelReply(Reply):
    """What somebody said of the transaction."""

    labelled_at: datetime
    source: str
    fraud: bool
    reason: str | None


class DecisionRecordReply(DecisionReply):
    """A decision with everything that led to it, and what became known since."""

    merchant_id: str | None
    customer_id: str | None
    channel: str | None
    details: dict[str, object] | None = Field(description="the transaction's other fields")
    log_odds: int = Field(description="fixed point, what was compared with the thresholds")
    propensity: float = Field(
        description="probability that a payment of this score is not declined: 1 below the decline "
        "threshold, else the share of the control group"
    )
    features: list[FeatureReply]
    labels: list[LabelReply] = Field(description="the first one stands")


class MadeReply(Reply):
    """What was decided."""

    log_odds: int = Field(description="fixed point, what was compared with the thresholds")
    decision: str


class MadeAgainReply(Reply):
    """A decision as it is stored and as it is made again from its inputs and versions."""

    transaction_id: str
    event_time: datetime
    model_version: str
    policy_version: str
    same: bool = Field(description="whether the two are equal, to the last bit")
    stored: MadeReply
    again: MadeReply


class AlertReply(Amount):
    """A payment that was not approved."""

    alert_id: UUID
    transaction_id: str
    event_time: datetime
    card_token: str
    terminal_id: str
    merchant_id: str | None
    score: float
    decision: str
    reasons: list[ReasonReply]
    model_version: str
    status: str
    created_at: datetime
    assignee: str | None = Field(description="who looks at it")
    snoozed_until: datetime | None
    outcome: str | None = Field(description="what a closed one was: fraud, genuine or unclear")
    version: int = Field(description="counts changes, from 1; in quotes it is the ETag")
    changed_at: datetime | None = Field(description="null: never")
    case_id: UUID | None = Field(description="null: not gathered yet, of before there were cases")


class CommentReply(Reply):
    """What somebody said of an alert."""

    comment_id: int
    alert_id: UUID
    at: datetime
    author: str
    text: str


class PointReply(Reply):
    """A metric's value at one moment of the stream."""

    at: datetime
    value: float
    examples: int


class VersionReply(Reply):
    """A published version of a model."""

    version: str = Field(description="SHA-256 of its content")
    stream_time: datetime = Field(description="it knows labels up to here")
    examples: int
    frauds: int
    created_at: datetime


class Role(Reply):
    """What a model is to the flow."""

    serving: bool = Field(description="whether it is to decide")
    servable: bool | None = Field(description="whether it could; null: the flow never ran it")
    running: bool | None = Field(description="null: the flow never ran it")


class ModelReply(Role):
    """A model, its newest version and the newest value of each metric."""

    name: str
    latest: VersionReply | None
    metrics: dict[str, PointReply]


class ModelRecordReply(Role):
    """A model over time."""

    name: str
    versions: Page[VersionReply]
    metrics: dict[str, list[PointReply]] = Field(description="oldest first, thinned evenly")


class PromotionReply(Reply):
    """One change of the model that serves."""

    promotion_id: int
    at: datetime = Field(description="when it was asked for")
    model: str = Field(description="serves from then on")
    before: str = Field(description="served until then")
    actor: str
    reason: str
    automatic: bool
    undoes: int | None = Field(description="the promotion that a rollback takes back")
    judged_at: datetime | None = Field(description="event time of the newest figures there were")


class DecisionTotals(BaseModel):
    """Decisions."""

    total: int
    approve: int
    review: int
    decline: int
    approximate: bool = Field(description="total and approve are estimates")


class AlertTotals(BaseModel):
    """Alerts by status."""

    open: int
    investigating: int
    closed: int


class LabelTotals(BaseModel):
    """Labels."""

    total: int
    frauds: int = Field(description="transactions whose standing label says fraud")
    by_source: dict[str, int]


class DeadLetterTotals(BaseModel):
    """Dead letters."""

    total: int
    by_reason: dict[str, int]


class TransactionTotals(BaseModel):
    """Transactions by event time, back from the newest one."""

    last_hour: int
    last_day: int


class StatsReply(BaseModel):
    """What the stream came to so far."""

    stream_time: datetime | None = Field(description="newest event time")
    decisions: DecisionTotals
    alerts: AlertTotals
    labels: LabelTotals
    dead_letters: DeadLetterTotals
    transactions: TransactionTotals
    model: str | None = Field(description="the model that decides")
    average_precision: PointReply | None
    average_precision_7d: PointReply | None


class DeadLetterReply(Reply):
    """A message that could not be taken."""

    id: int
    topic: str
    partition: int
    offset: int
    at: datetime
    reason: str
    field: str | None
    detail: str
    payload: str = Field(description="redacted")
    stored_at: datetime
    replayed_at: datetime | None


class ReplayReply(Reply):
    """A dead letter that was replayed, and where its message is now."""

    id: int
    topic: str
    partition: int
    offset: int
    replayed_at: datetime


class AliveReply(BaseModel):
    """The process answers."""

    status: str


class CheckReply(BaseModel):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


class ReadyReply(BaseModel):
    """Whether requests can be served, and why not."""

    status: str
    checks: list[CheckReply]

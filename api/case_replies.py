"""What the API answers with of cases, cards, terminals and similar alerts, and takes of them."""

from __future__ import annotations

from datetime import datetime
from typing import cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, computed_field

from api.money import major
from api.parameters import Moment, Outcome, Paged, Status, Text, _left_out
from api.replies import AlertReply, Reply
from tidegate.store.alert_work import LONGEST_COMMENT
from tidegate.store.case_work import CaseChanges
from tidegate.store.cases import Order


class CaseParameters(Paged):
    """Which cases."""

    status: Status | None = None
    outcome: Outcome | None = None
    assignee: Text | None = None
    card_token: Text | None = None
    min_score: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="of the highest of its alerts"
    )
    since: Moment | None = Field(
        None, description="opened from here on, RFC 3339 with offset (`+` as `%2B`)"
    )
    until: Moment | None = Field(None, description="opened before this")
    sort: Order = Field("newest", description="or highest score first")


class SimilarParameters(BaseModel):
    """How many similar alerts."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(20, ge=1, le=50, description="alerts at most")


class CaseBody(BaseModel):
    """What a case is to be; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    # No default that the description would tell: null is no status.
    status: Status = Field(default_factory=_left_out)
    outcome: Outcome | None = Field(
        None, description="needed to close a case, whose alerts are then closed with it"
    )
    assignee: Text | None = Field(None, description="who looks at it; null: nobody")

    def changes(self) -> CaseChanges:
        """What was given, be it null."""
        return cast(CaseChanges, self.model_dump(exclude_unset=True))


class DispositionBody(BaseModel):
    """What an alert was found to be."""

    model_config = ConfigDict(extra="forbid")

    outcome: Outcome
    comment: str | None = Field(
        None, min_length=1, max_length=LONGEST_COMMENT, pattern=r"^[^\x00]+$"
    )


class CaseReply(Reply):
    """Alerts of a card that were gathered."""

    case_id: UUID
    card_token: str
    opened_at: datetime = Field(description="when its first alert was raised")
    first_event_time: datetime
    last_event_time: datetime
    status: str
    outcome: str | None
    assignee: str | None
    alert_count: int
    open_count: int = Field(description="its alerts that are not closed")
    currency: str | None = Field(description="of all its alerts; null: there are several")
    amount_minor: int | None = Field(description="their sum; null: there are several currencies")
    highest_score: float
    version: int = Field(description="counts changes, also of its alerts; in quotes it is the ETag")
    changed_at: datetime | None = Field(description="null: never")

    @computed_field(description="the same in major units as decimal text; null: not known")  # type: ignore[prop-decorator]
    @property
    def amount(self) -> str | None:
        """The sum in major units."""
        if self.amount_minor is None or self.currency is None:
            return None
        return major(self.amount_minor, self.currency)


class CaseRecordReply(CaseReply):
    """A case with its alerts."""

    alerts: list[AlertReply] = Field(
        description="the newest 100; all of them are `/v1/alerts?case_id=`"
    )


class SimilarReply(Reply):
    """An alert that is like another one."""

    why: list[str] = Field(description="what they share: `card`, `terminal`, `reason`")
    alert: AlertReply


class SimilarListReply(BaseModel):
    """The most similar ones first."""

    data: list[SimilarReply]


class SpanReply(Reply):
    """What was decided in a span that ends at the newest event time of all."""

    decisions: dict[str, int] = Field(description="of a card by decision; of a terminal in all")
    amount_minor: dict[str, int] = Field(description="minor units, by currency")

    @computed_field(description="the same in major units as decimal text")  # type: ignore[prop-decorator]
    @property
    def amount(self) -> dict[str, str | None]:
        """The sums in major units."""
        return {currency: major(sum, currency) for currency, sum in self.amount_minor.items()}


class KnownReply(Reply):
    """What is known of the newest payments of 30 days, 1,000 at most."""

    payments: int
    frauds: int
    genuine: int


class UsedTerminalReply(Reply):
    """A terminal that a card uses."""

    terminal_id: str
    decisions: int
    last_seen: datetime


class SeriesReply(Reply):
    """Decisions by hour; columns of one length, oldest first. Hours without any are left out."""

    currency: str
    buckets: list[datetime]
    decisions: list[int]
    not_approved: list[int]
    amount_minor: list[int]


class EntityReply(Reply):
    """What a card and a terminal have in common."""

    first_seen: datetime | None = Field(description="of the decisions that are kept")
    last_seen: datetime | None
    spans: dict[str, SpanReply] = Field(description="`24h`, `7d` and `30d`")
    known: KnownReply
    alerts: int = Field(description="1,001 at most")
    open_alerts: int = Field(description="of those, not closed")
    complete: bool = Field(description="false: there were more payments or alerts than are read")


class CardReply(EntityReply):
    """A card."""

    card_token: str
    terminals: list[UsedTerminalReply] = Field(description="most used first, 10 at most")


class TerminalReply(EntityReply):
    """A terminal."""

    terminal_id: str
    series: list[SeriesReply] = Field(description="30 days, one for each currency")

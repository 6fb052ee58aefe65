"""Query parameters and ids, with their bounds. A parameter that no list knows is an error: a
misspelt filter would otherwise answer with everything."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import Path, Request
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from api import cursors, kinds
from api.problems import Failed
from tidegate.store.alert_text import LONGEST
from tidegate.store.alert_work import LONGEST_COMMENT, Changes
from tidegate.store.alerts import AlertFilter, Order

# PostgreSQL's text holds every character but NUL.
Text = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]+$")]


def _written_out(given: object) -> object:
    # Pydantic takes a number for seconds, and `2026` with a slip in it for 1970.
    if isinstance(given, str) and not _DATE.match(given):
        raise ValueError("must be RFC 3339, as 2026-11-26T12:00:00Z")
    return given


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")
# A moment; only as RFC 3339 with an offset.
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]

# Something to look for: not only spaces.
Sought = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")
]

TransactionId = Annotated[
    str,
    Path(min_length=1, max_length=64, pattern=r"^[^\x00]+$", description="may contain slashes"),
]
# As long as PostgreSQL's bigint.
DeadLetterId = Annotated[int, Path(ge=1, le=2**63 - 1)]
ModelName = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[^\x00]+$")]

Decided = Literal["approve", "review", "decline"]
Alerted = Literal["review", "decline"]
Status = Literal["open", "investigating", "closed"]
Outcome = Literal["fraud", "genuine", "unclear"]

MinorUnits = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Paged(BaseModel):
    """What every list takes."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=200, description="rows of the page")
    after: str | None = Field(
        None, max_length=cursors.LONGEST, description="`next` of the page before"
    )

    def filters(self) -> dict[str, Any]:
        """What was asked beside the page and its order."""
        return self.model_dump(exclude={"limit", "after", "sort"})


class DecisionParameters(Paged):
    """Which decisions."""

    card_token: Text | None = None
    terminal_id: Text | None = None
    decision: Decided | None = None
    since: Moment | None = Field(
        None, description="event time from here on, RFC 3339 with offset (`+` as `%2B`)"
    )
    until: Moment | None = Field(None, description="event time before this")


class AlertsAsked(BaseModel):
    """Which alerts, and in which order."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None = None
    outcome: Outcome | None = None
    decision: Alerted | None = None
    card_token: Text | None = None
    terminal_id: Text | None = None
    merchant_id: Text | None = None
    case_id: UUID | None = None
    assignee: Text | None = None
    unassigned: bool | None = Field(None, description="true: nobody's, false: somebody's")
    snoozed: bool | None = Field(None, description="at this moment; left out: both")
    reason: Text | None = Field(None, description="the code of one of the reasons")
    min_score: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    max_score: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    min_amount_minor: MinorUnits | None = Field(None, description="in whatever currency")
    max_amount_minor: MinorUnits | None = None
    currency: Text | None = Field(None, description="ISO 4217; needed with `sort=amount`")
    text: Sought | None = Field(
        None, description="ids as they begin, or words of reasons and comments, all of them"
    )
    since: Moment | None = Field(
        None, description="raised from here on, RFC 3339 with offset (`+` as `%2B`)"
    )
    until: Moment | None = Field(None, description="raised before this")
    sort: Order = Field(
        "newest", description="or oldest, highest score or largest amount of a currency first"
    )

    def alerts(self) -> AlertFilter:
        """The filter that was asked for."""
        return AlertFilter(**self.model_dump(exclude={"limit", "after", "sort"}))

    def faults(self) -> list[dict[str, str]]:
        """What is wrong with the whole, where each parameter is right."""
        if self.sort == "amount" and self.currency is None:
            detail = "is needed with sort=amount: amounts of several have no order"
            return [{"in": "query", "field": "currency", "detail": detail}]
        return []


class AlertParameters(AlertsAsked, Paged):
    """A page of them."""


class DeadLetterParameters(Paged):
    """Which dead letters."""

    reason: Text | None = None
    topic: Text | None = Field(None, description="the topic, or the file's name")
    replayed: bool | None = Field(None, description="false: those that still wait")


def _left_out() -> Any:
    return None


class AlertBody(BaseModel):
    """What an alert is to be; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    # No default that the description would tell: null is no status.
    status: Status = Field(default_factory=_left_out)
    outcome: Outcome | None = Field(
        None, description="needed to close an alert, gone when it is opened again"
    )
    assignee: Text | None = Field(None, description="who looks at it; null: nobody")
    snoozed_until: Moment | None = Field(
        None, description="RFC 3339 with offset, at most a year ahead; null: not snoozed"
    )

    def changes(self) -> Changes:
        """What was given, be it null."""
        return cast(Changes, self.model_dump(exclude_unset=True))


class CommentBody(BaseModel):
    """What is to be said of an alert."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=LONGEST_COMMENT, pattern=r"^[^\x00]+$")


class ReplayBody(BaseModel):
    """How a dead letter is replayed."""

    model_config = ConfigDict(extra="forbid")

    payload: dict[str, Any] | None = Field(
        None, description="the corrected message; null: the original one, read again from Kafka"
    )
    again: bool = Field(False, strict=True, description="also where it was replayed before")


class NoBody(BaseModel):
    """`{}`: a change takes a JSON body, be there nothing to say."""

    model_config = ConfigDict(extra="forbid")


class PromotionBody(BaseModel):
    """Why another model is to serve."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field("", max_length=1000, pattern=r"^[^\x00]*$", description="for the history")


class ModelParameters(Paged):
    """Which versions of a model, and how fine its series."""

    points: int = Field(500, ge=2, le=2000, description="values of each series at most")


async def json_only(request: Request) -> None:
    """Refuses a body that is not declared as JSON; for every route that changes anything.

    A page of another site can send a form, or text, to a browser's own machine without asking;
    JSON it may not.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Failed(kinds.MEDIA_TYPE, "the body must be application/json")

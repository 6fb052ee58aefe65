"""Decisions over time: in all, and of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api import declared, problems
from api.context import Ctx
from api.parameters import Moment, Text
from api.replies import Reply
from tidegate.store import traffic
from tidegate.store.traffic import Step

router = APIRouter(prefix="/v1", tags=["traffic"])

# The longest span of each step: some two thousand buckets of a series.
LONGEST = {
    Step.MINUTE: timedelta(days=1, hours=12),
    Step.HOUR: timedelta(days=92),
    Step.DAY: timedelta(days=1830),
}


class Span(BaseModel):
    """From when to when."""

    model_config = ConfigDict(extra="forbid")

    since: Moment = Field(
        description="buckets that begin at this event time or later, RFC 3339 with offset"
    )
    until: Moment = Field(description="and before this")


class TrafficParameters(Span):
    """Which decisions, and how long a bucket is."""

    step: Literal["minute", "hour", "day"] = Field("hour", description="length of a bucket")


class TerminalParameters(Span):
    """The same of one terminal."""

    terminal_id: Text
    step: Literal["hour", "day"] = Field("hour", description="length of a bucket")


class DecidedReply(Reply):
    """One kind of decision in one currency; columns of one length, oldest bucket first."""

    currency: str
    decision: str
    buckets: Sequence[datetime] = Field(description="their begins, event time; empty ones lack")
    decisions: Sequence[int]
    amount_minor: Sequence[int] = Field(description="sums, minor units of the currency")


class ScoreBinReply(Reply):
    """Scores from `low` up to `high`."""

    low: float
    high: float
    decisions: int


class LatencyReply(Reply):
    """Seconds from event time to decision; 300 means that or more."""

    p50: float
    p95: float
    p99: float


class TrafficReply(BaseModel):
    """Decisions of a span."""

    step: str
    series: list[DecidedReply]
    scores: list[ScoreBinReply] = Field(description="together from 0 to 1")
    latency: LatencyReply | None = Field(description="null: there was no decision")


class TerminalSeriesReply(Reply):
    """A terminal's decisions in one currency; columns of one length, oldest bucket first."""

    currency: str
    buckets: Sequence[datetime] = Field(description="their begins, event time; empty ones lack")
    decisions: Sequence[int]
    not_approved: Sequence[int] = Field(description="how many of them were reviewed or declined")
    amount_minor: Sequence[int] = Field(description="sums, minor units of the currency")


class TerminalTrafficReply(BaseModel):
    """A terminal's decisions of a span."""

    terminal_id: str
    step: str
    series: list[TerminalSeriesReply]


@router.get("/traffic", response_model=TrafficReply, responses=declared.LISTED)
def get_traffic(
    context: Ctx, asked: Annotated[TrafficParameters, Query()]
) -> TrafficReply | Response:
    """Decisions over event time by kind and currency, and how scores and latencies were spread."""
    step = Step(asked.step)
    if (fault := _fault(asked, step)) is not None:
        return fault
    with context.pool.connection() as conn:
        series = traffic.decided(conn, step, since=asked.since, until=asked.until)
        spread = traffic.spread(conn, step, since=asked.since, until=asked.until)
    return TrafficReply(
        step=asked.step,
        series=[DecidedReply.model_validate(one) for one in series],
        scores=[ScoreBinReply.model_validate(one) for one in spread.scores],
        latency=None if spread.latency is None else LatencyReply.model_validate(spread.latency),
    )


@router.get(
    "/traffic/terminals",
    response_model=TerminalTrafficReply,
    responses=declared.LISTED,
)
def get_terminal_traffic(
    context: Ctx, asked: Annotated[TerminalParameters, Query()]
) -> TerminalTrafficReply | Response:
    """A terminal's decisions over event time; one that is not known has none."""
    step = Step(asked.step)
    if (fault := _fault(asked, step)) is not None:
        return fault
    with context.pool.connection() as conn:
        series = traffic.terminal(
            conn, asked.terminal_id, step, since=asked.since, until=asked.until
        )
    return TerminalTrafficReply(
        terminal_id=asked.terminal_id,
        step=asked.step,
        series=[TerminalSeriesReply.model_validate(one) for one in series],
    )


def _fault(asked: Span, step: Step) -> Response | None:
    """What is wrong with the span, if anything."""
    if asked.until <= asked.since:
        detail = "must be later than since"
    elif asked.until - asked.since > LONGEST[step]:
        detail = f"at most {LONGEST[step] // timedelta(hours=1):,} hours by {step.value}"
    else:
        return None
    return problems.invalid([{"in": "query", "field": "until", "detail": detail}])

"""Totals."""

from __future__ import annotations

from fastapi import APIRouter

from api import declared
from api.context import Context, Ctx
from api.replies import (
    AlertTotals,
    DeadLetterTotals,
    DecisionTotals,
    LabelTotals,
    PointReply,
    StatsReply,
    TransactionTotals,
)
from tidegate.store import stats
from tidegate.store.stats import Totals

router = APIRouter(prefix="/v1", tags=["stats"])


@router.get("/stats", responses=declared.UNAVAILABLE)
def get_stats(context: Ctx) -> StatsReply:
    """What the stream came to so far; some seconds old where counting takes long."""
    totals = context.figures.get(lambda: _count(context))
    return StatsReply(
        stream_time=totals.stream_time,
        decisions=DecisionTotals(
            total=totals.scored, approximate=totals.approximate, **totals.decisions
        ),
        alerts=AlertTotals(**totals.alerts),
        labels=LabelTotals(
            total=sum(totals.labels.values()),
            frauds=totals.frauds,
            by_source=dict(totals.labels),
        ),
        dead_letters=DeadLetterTotals(
            total=sum(totals.dead_letters.values()), by_reason=dict(totals.dead_letters)
        ),
        transactions=TransactionTotals(last_hour=totals.last_hour, last_day=totals.last_day),
        model=totals.model,
        average_precision=_newest(totals, "average_precision"),
        average_precision_7d=_newest(totals, "average_precision_7d"),
    )


def _count(context: Context) -> Totals:
    with context.pool.connection() as conn:
        return stats.totals(conn)


def _newest(totals: Totals, metric: str) -> PointReply | None:
    point = totals.metrics.get(metric)
    return None if point is None else PointReply.model_validate(point)

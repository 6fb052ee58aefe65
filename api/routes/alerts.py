"""Alerts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api import cursors, problems
from api.context import Ctx
from api.parameters import AlertParameters
from api.replies import AlertReply, Page
from tidegate.store import alerts
from tidegate.store.alerts import Alert, AlertFilter, Order

router = APIRouter(prefix="/v1", tags=["alerts"])

# A page's cursor is written and read by its order; one of one order means nothing in the other.
_CURSORS: dict[Order, tuple[Callable[[Alert], str], Callable[[str], alerts.Position]]] = {
    "newest": (
        lambda alert: cursors.at_id("alert", alert.created_at, str(alert.alert_id)),
        partial(cursors.read_at_uuid, "alert"),
    ),
    "score": (
        lambda alert: cursors.score_id("alert-by-score", alert.score, str(alert.alert_id)),
        partial(cursors.read_score_uuid, "alert-by-score"),
    ),
}


@router.get("/alerts", responses=problems.LISTED)
def list_alerts(context: Ctx, asked: Annotated[AlertParameters, Query()]) -> Page[AlertReply]:
    """Alerts, newest first or highest score first."""
    write, read = _CURSORS[asked.sort]
    after = None if asked.after is None else read(asked.after)
    which = AlertFilter(**asked.filters())
    with context.pool.connection() as conn:
        found = alerts.page(conn, which, limit=asked.limit + 1, order=asked.sort, after=after)
    shown, end = cursors.page(found, asked.limit, write)
    return Page(data=[AlertReply.model_validate(alert) for alert in shown], next=end)


@router.get("/alerts/{alert_id}", responses=problems.FETCHED)
def get_alert(context: Ctx, alert_id: UUID) -> AlertReply:
    """One alert."""
    with context.pool.connection() as conn:
        alert = alerts.get(conn, alert_id)
    if alert is None:
        raise problems.missing("alert")
    return AlertReply.model_validate(alert)

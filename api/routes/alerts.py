"""Alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api import cursors, problems
from api.context import Ctx
from api.parameters import AlertParameters
from api.replies import AlertReply, Page
from tidegate.store import alerts
from tidegate.store.alerts import Alert, AlertFilter

router = APIRouter(prefix="/v1", tags=["alerts"])

# A cursor of one order means nothing in the other.
_KINDS = {"newest": "alert", "score": "alert-by-score"}


@router.get("/alerts", responses=problems.LISTED)
def list_alerts(context: Ctx, asked: Annotated[AlertParameters, Query()]) -> Page[AlertReply]:
    """Alerts, newest first or highest score first."""
    by_score = asked.sort == "score"
    after: tuple[datetime | float, UUID] | None = None
    if asked.after is not None:
        read = cursors.read_score_uuid if by_score else cursors.read_at_uuid
        after = read(_KINDS[asked.sort], asked.after)
    which = AlertFilter(**asked.filters())
    with context.pool.connection() as conn:
        found = alerts.page(conn, which, limit=asked.limit + 1, order=asked.sort, after=after)
    shown, end = cursors.page(found, asked.limit, _score_cursor if by_score else _cursor)
    return Page(data=[AlertReply.model_validate(alert) for alert in shown], next=end)


@router.get("/alerts/{alert_id}", responses=problems.FETCHED)
def get_alert(context: Ctx, alert_id: UUID) -> AlertReply:
    """One alert."""
    with context.pool.connection() as conn:
        alert = alerts.get(conn, alert_id)
    if alert is None:
        raise problems.missing("alert")
    return AlertReply.model_validate(alert)


def _cursor(alert: Alert) -> str:
    return cursors.at_id(_KINDS["newest"], alert.created_at, str(alert.alert_id))


def _score_cursor(alert: Alert) -> str:
    return cursors.score_id(_KINDS["score"], alert.score, str(alert.alert_id))

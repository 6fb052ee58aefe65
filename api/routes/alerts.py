"""Alerts: listed, changed and commented on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import Response

from api import cursors, declared, etags, problems
from api.access.guard import Actor
from api.context import Ctx
from api.parameters import AlertBody, AlertParameters, CommentBody, Paged, json_only
from api.replies import AlertReply, CommentReply, Page
from tidegate.store import alert_work, alerts
from tidegate.store.alert_work import CannotChange, Changed, Comment, NoSuchAlert
from tidegate.store.alerts import Alert, Order

router = APIRouter(prefix="/v1", tags=["alerts"])

# A page's cursor is written and read by its order; one of one order means nothing in the other.
_CURSORS: dict[Order, tuple[Callable[[Alert], str], Callable[[str], alerts.Position]]] = {
    "newest": (
        lambda alert: cursors.at_id("alert", alert.created_at, str(alert.alert_id)),
        partial(cursors.read_at_uuid, "alert"),
    ),
    "oldest": (
        lambda alert: cursors.at_id("alert-oldest", alert.created_at, str(alert.alert_id)),
        partial(cursors.read_at_uuid, "alert-oldest"),
    ),
    "amount": (
        lambda alert: cursors.number_id("alert-by-amount", alert.amount_minor, str(alert.alert_id)),
        partial(cursors.read_number_uuid, "alert-by-amount"),
    ),
    "score": (
        lambda alert: cursors.score_id("alert-by-score", alert.score, str(alert.alert_id)),
        partial(cursors.read_score_uuid, "alert-by-score"),
    ),
}


@router.get("/alerts", response_model=Page[AlertReply], responses=declared.LISTED)
def list_alerts(
    context: Ctx, asked: Annotated[AlertParameters, Query()]
) -> Page[AlertReply] | Response:
    """Alerts: newest, oldest, highest score or largest amount first."""
    if faults := asked.faults():
        return problems.invalid(faults)
    write, read = _CURSORS[asked.sort]
    after = None if asked.after is None else read(asked.after)
    with context.pool.connection() as conn:
        found = alerts.page(
            conn, asked.alerts(), limit=asked.limit + 1, order=asked.sort, after=after
        )
    shown, end = cursors.page(found, asked.limit, write)
    return Page(data=[AlertReply.model_validate(alert) for alert in shown], next=end)


@router.get(
    "/alerts/{alert_id}",
    response_model=AlertReply,
    responses={**declared.FETCHED, **etags.READ},
)
def get_alert(
    context: Ctx,
    response: Response,
    alert_id: UUID,
    if_none_match: etags.IfNoneMatch = None,
) -> AlertReply | Response:
    """One alert."""
    with context.pool.connection() as conn:
        alert = alerts.get(conn, alert_id)
    if alert is None:
        raise problems.missing("alert")
    if (unchanged := etags.not_modified(if_none_match, alert.version)) is not None:
        return unchanged
    response.headers["ETag"] = etags.of(alert.version)
    return AlertReply.model_validate(alert)


@router.patch(
    "/alerts/{alert_id}",
    response_model=AlertReply,
    responses={**declared.MATCHED, 200: etags.TOLD},
    dependencies=[Depends(json_only)],
)
def change_alert(
    context: Ctx,
    actor: Actor,
    response: Response,
    alert_id: UUID,
    body: AlertBody,
    if_match: Annotated[
        str | None, Header(description="needed: the `ETag` of the alert as it was read")
    ] = None,
) -> AlertReply | Response:
    """Changes an alert, if nobody else did since it was read."""
    seen = etags.needed(if_match, "alert")
    try:
        with context.writing() as conn:
            alert = alerts.get(conn, alert_id)
            if alert is None:
                raise NoSuchAlert(alert_id)
            if not etags.same_strongly(seen, etags.of(alert.version)):
                raise Changed(alert)
            alert = alert_work.change(conn, alert_id, alert.version, body.changes(), actor=actor)
    except NoSuchAlert as ex:
        raise problems.missing("alert") from ex
    except Changed as ex:
        raise etags.changed(ex, ex.alert.version) from ex
    except CannotChange as ex:
        return problems.invalid([{"in": "body", "field": ex.field, "detail": str(ex)}])
    response.headers["ETag"] = etags.of(alert.version)
    return AlertReply.model_validate(alert)


@router.get("/alerts/{alert_id}/comments", responses=declared.FETCHED)
def list_comments(
    context: Ctx, alert_id: UUID, asked: Annotated[Paged, Query()]
) -> Page[CommentReply]:
    """What was said of an alert, oldest first."""
    after = None if asked.after is None else cursors.read_number("comment", asked.after)
    with context.pool.connection() as conn:
        found = alert_work.comments(conn, alert_id, limit=asked.limit + 1, after=after)
        if not found and alerts.get(conn, alert_id) is None:
            raise problems.missing("alert")
    shown, end = cursors.page(found, asked.limit, _comment_cursor)
    return Page(data=[CommentReply.model_validate(comment) for comment in shown], next=end)


@router.post(
    "/alerts/{alert_id}/comments",
    status_code=201,
    response_model=CommentReply,
    responses=declared.CHANGED,
    dependencies=[Depends(json_only)],
)
def comment_on_alert(context: Ctx, actor: Actor, alert_id: UUID, body: CommentBody) -> CommentReply:
    """Says something of an alert. The alert is not changed by it, nor its ETag."""
    try:
        with context.writing() as conn:
            comment = alert_work.comment(conn, alert_id, body.text, actor=actor)
    except NoSuchAlert as ex:
        raise problems.missing("alert") from ex
    return CommentReply.model_validate(comment)


def _comment_cursor(comment: Comment) -> str:
    return cursors.number("comment", comment.comment_id)

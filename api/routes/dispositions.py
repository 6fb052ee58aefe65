"""Dispositions: alerts closed with what they were found to be."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header
from fastapi.responses import Response

from api import declared, etags, kinds, problems
from api.access.guard import Actor
from api.case_replies import DispositionBody
from api.context import Ctx
from api.parameters import json_only
from api.replies import AlertReply
from tidegate.store import dispositions
from tidegate.store.alert_work import Changed, NoSuchAlert

router = APIRouter(prefix="/v1", tags=["alerts"])

DISPOSED: declared.Responses = {
    **declared.CHANGED,
    **declared.told(kinds.CHANGED),
    200: etags.TOLD,
}


@router.post(
    "/alerts/{alert_id}/disposition",
    response_model=AlertReply,
    responses=DISPOSED,
    dependencies=[Depends(json_only)],
)
def dispose_of_alert(
    context: Ctx,
    actor: Actor,
    response: Response,
    alert_id: UUID,
    body: DispositionBody,
    if_match: Annotated[
        str | None, Header(description="the `ETag` of the alert as it was read; may be left out")
    ] = None,
) -> AlertReply:
    """Closes an alert with an outcome and, maybe, a comment. Repeated, it changes nothing.

    With `If-Match` it is refused where somebody changed the alert since, but to this very outcome.
    """
    try:
        with context.writing() as conn:
            alert = dispositions.hold(conn, alert_id)
            if (
                if_match is not None
                and if_match.strip() != etags.ANY
                and not dispositions.stands(alert, body.outcome)
                and not etags.same_strongly(if_match, etags.of(alert.version))
            ):
                raise Changed(alert)
            alert = dispositions.dispose(
                conn, alert, body.outcome, actor=actor, comment=body.comment
            )
    except NoSuchAlert as ex:
        raise problems.missing("alert") from ex
    except Changed as ex:
        raise etags.changed(ex, ex.alert.version) from ex
    response.headers["ETag"] = etags.of(alert.version)
    return AlertReply.model_validate(alert)

"""Cases: listed, read with their alerts, and changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import Response

from api import cursors, declared, etags, problems
from api.access.guard import Actor
from api.case_replies import CaseBody, CaseParameters, CaseRecordReply, CaseReply
from api.context import Ctx
from api.parameters import json_only
from api.replies import AlertReply, Page
from tidegate.store import alerts, case_work, cases
from tidegate.store.alert_work import CannotChange
from tidegate.store.alerts import AlertFilter
from tidegate.store.case_work import CaseChanged, NoSuchCase
from tidegate.store.cases import Case, CaseFilter, Order

router = APIRouter(prefix="/v1", tags=["cases"])

SHOWN = 100  # alerts of a case

# A page's cursor is written and read by its order; one of one order means nothing in the other.
_CURSORS: dict[Order, tuple[Callable[[Case], str], Callable[[str], cases.Position]]] = {
    "newest": (
        lambda case: cursors.at_id("case", case.opened_at, str(case.case_id)),
        partial(cursors.read_at_uuid, "case"),
    ),
    "score": (
        lambda case: cursors.score_id("case-by-score", case.highest_score, str(case.case_id)),
        partial(cursors.read_score_uuid, "case-by-score"),
    ),
}


@router.get("/cases", responses=declared.LISTED)
def list_cases(context: Ctx, asked: Annotated[CaseParameters, Query()]) -> Page[CaseReply]:
    """Cases, newest first or highest score first."""
    write, read = _CURSORS[asked.sort]
    after = None if asked.after is None else read(asked.after)
    which = CaseFilter(**asked.filters())
    with context.pool.connection() as conn:
        found = cases.page(conn, which, limit=asked.limit + 1, order=asked.sort, after=after)
    shown, end = cursors.page(found, asked.limit, write)
    return Page(data=[CaseReply.model_validate(case) for case in shown], next=end)


@router.get(
    "/cases/{case_id}",
    response_model=CaseRecordReply,
    responses={**declared.FETCHED, **etags.READ},
)
def get_case(
    context: Ctx,
    response: Response,
    case_id: UUID,
    if_none_match: etags.IfNoneMatch = None,
) -> CaseRecordReply | Response:
    """One case with its newest alerts."""
    with context.pool.connection() as conn:
        case = cases.get(conn, case_id)
        if case is None:
            raise problems.missing("case")
        if (unchanged := etags.not_modified(if_none_match, case.version)) is not None:
            return unchanged
        # What changes in between is newer than the tag says: a change by it is then refused.
        gathered = alerts.page(conn, AlertFilter(case_id=case_id), limit=SHOWN)
    response.headers["ETag"] = etags.of(case.version)
    shown = CaseReply.model_validate(case).model_dump(exclude={"amount"})
    return CaseRecordReply(**shown, alerts=[AlertReply.model_validate(alert) for alert in gathered])


@router.patch(
    "/cases/{case_id}",
    response_model=CaseReply,
    responses={**declared.MATCHED, 200: etags.TOLD},
    dependencies=[Depends(json_only)],
)
def change_case(
    context: Ctx,
    actor: Actor,
    response: Response,
    case_id: UUID,
    body: CaseBody,
    if_match: Annotated[
        str | None, Header(description="needed: the `ETag` of the case as it was read")
    ] = None,
) -> CaseReply | Response:
    """Changes a case, if neither it nor one of its alerts was changed since it was read, and none
    joined. Closed with an outcome, its open alerts are closed with it."""
    seen = etags.needed(if_match, "case")
    try:
        with context.writing() as conn:
            case = cases.get(conn, case_id)
            if case is None:
                raise NoSuchCase(case_id)
            if not etags.same_strongly(seen, etags.of(case.version)):
                raise CaseChanged(case)
            case = case_work.change(conn, case_id, case.version, body.changes(), actor=actor)
    except NoSuchCase as ex:
        raise problems.missing("case") from ex
    except CaseChanged as ex:
        raise etags.changed(ex, ex.case.version) from ex
    except CannotChange as ex:
        return problems.invalid([{"in": "body", "field": ex.field, "detail": str(ex)}])
    response.headers["ETag"] = etags.of(case.version)
    return CaseReply.model_validate(case)

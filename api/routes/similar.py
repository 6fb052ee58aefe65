"""Alerts like another one."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api import declared, problems
from api.case_replies import SimilarListReply, SimilarParameters, SimilarReply
from api.context import Ctx
from tidegate.store import alerts
from tidegate.store.similar import similar

router = APIRouter(prefix="/v1", tags=["alerts"])


@router.get("/alerts/{alert_id}/similar", responses=declared.FETCHED)
def list_similar(
    context: Ctx, alert_id: UUID, asked: Annotated[SimilarParameters, Query()]
) -> SimilarListReply:
    """Alerts within a week of the same card, at the same terminal or for the same first reason."""
    with context.pool.connection() as conn:
        found = similar(conn, alert_id, limit=asked.limit)
        if not found and alerts.get(conn, alert_id) is None:
            raise problems.missing("alert")
    return SimilarListReply(data=[SimilarReply.model_validate(one) for one in found])

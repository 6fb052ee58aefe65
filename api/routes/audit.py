"""The audit: who did what."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from api import cursors, declared
from api.context import Ctx
from api.parameters import Moment, Paged, Text
from api.replies import Page, Reply
from tidegate.store import audit
from tidegate.store.audit import Audited, AuditFilter

router = APIRouter(prefix="/v1", tags=["access"])


class AuditParameters(Paged):
    """Which rows."""

    actor: Text | None = Field(None, description="as `key:<prefix> (<name>)`, `oidc:<sub>`")
    action: Text | None = Field(None, description="as `alert.change`")
    subject: Text | None = Field(None, description="the id of what was changed")
    since: Moment | None = Field(
        None, description="from here on, RFC 3339 with offset (`+` as `%2B`)"
    )
    until: Moment | None = Field(None, description="before this")


class AuditReply(Reply):
    """One thing that somebody did."""

    audit_id: int
    at: datetime
    actor: str
    action: str
    subject: str
    before: Any = Field(description="what was, of what was changed; null: nothing")
    after: Any = Field(description="what is since then; null: nothing")


@router.get("/audit", responses=declared.LISTED)
def list_audit(context: Ctx, asked: Annotated[AuditParameters, Query()]) -> Page[AuditReply]:
    """Who did what, newest first."""
    after = None if asked.after is None else cursors.read_at_number("audit", asked.after)
    which = AuditFilter(**asked.filters())
    with context.pool.connection() as conn:
        found = audit.page(conn, which, limit=asked.limit + 1, after=after)
    shown, end = cursors.page(found, asked.limit, _cursor)
    return Page(data=[AuditReply.model_validate(row) for row in shown], next=end)


def _cursor(row: Audited) -> str:
    return cursors.at_id("audit", row.at, str(row.audit_id))

"""The audit, read: who did what, and when. Each change writes its row beside itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from tidegate.store.connection import Conn
from tidegate.store.queries import Condition, conditions

_FILTERS: Mapping[str, Condition] = {
    "actor": sql.SQL("actor = %(actor)s"),
    "action": sql.SQL("action = %(action)s"),
    "subject": sql.SQL("subject = %(subject)s"),
    "since": sql.SQL("at >= %(since)s"),
    "until": sql.SQL("at < %(until)s"),
}

_AFTER = sql.SQL("(at, audit_id) < (%(after_at)s, %(after_id)s)")

_PAGE = sql.SQL(
    "SELECT audit_id, at, actor, action, subject, before, after FROM audit WHERE {conditions}"
    " ORDER BY at DESC, audit_id DESC LIMIT %(limit)s"
)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows; None: whatever it is."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: datetime | None = None  # at or after
    until: datetime | None = None  # before


@dataclass(frozen=True, slots=True)
class Audited:
    """One thing that somebody did."""

    audit_id: int
    at: datetime  # aware, UTC
    actor: str
    action: str
    subject: str
    before: Any  # what was, as JSON; None where nothing was
    after: Any


def page(
    conn: Conn, which: AuditFilter, *, limit: int, after: tuple[datetime, int] | None = None
) -> list[Audited]:
    """At most `limit` rows, newest first; `after` are the time and id of the last one of the page
    before."""
    where, values = conditions(_FILTERS, which)
    if after is not None:
        where.append(_AFTER)
        values |= {"after_at": after[0], "after_id": after[1]}
    query = _PAGE.format(conditions=sql.SQL(" AND ").join(where))
    with conn.cursor(row_factory=class_row(Audited)) as cursor:
        return cursor.execute(query, values | {"limit": limit}).fetchall()

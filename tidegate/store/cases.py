"""Cases: a card's alerts of about a day, read as one piece of work. `store.case_work` changes them.

An alert joins the card's newest case that is not closed and whose first alert, the one that opened
it, is at most 24 hours of event time away, earlier or later; where there is none it opens one. The
database does that as the alert is inserted, whoever inserts it (triggers of `0013_cases`), in the
order of the payments within a statement. So cases depend on the order in which a card's alerts
come, and not on how they are cut into transactions; a repeat of an alert is not inserted and counts
nothing. Were two writers to insert different alerts of one card at once, which one run does not, it
could get two cases: each alert is in one and counted once, and later ones join the newer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal
from uuid import UUID

from psycopg import Connection, sql
from psycopg.rows import class_row

from tidegate.store.queries import Condition, conditions

# Cases derive their id from the alert that opened them in this namespace, as `case_of` of the
# database does. It must never change.
CASES = UUID("2b7d3c1e-90f5-4a61-b8a4-d05c7e12f3a6")


@dataclass(frozen=True, slots=True)
class Case:
    """Alerts of a card that were gathered."""

    case_id: UUID
    card_token: str
    opened_at: datetime  # aware, UTC; when the alert that opened it was raised
    first_event_time: datetime  # aware, UTC; of its alerts
    last_event_time: datetime  # aware, UTC
    status: str  # open, investigating or closed
    outcome: str | None  # fraud, genuine or unclear; only of a closed one
    assignee: str | None  # who looks at it
    alert_count: int
    open_count: int  # of its alerts, those that are not closed
    currency: str | None  # of all its alerts; None: there are several
    amount_minor: int | None  # their sum in minor units of the currency; None: there are several
    highest_score: float  # of its alerts; probability, 0 to 1
    version: int  # counts what was changed of it and its alerts, and alerts that joined; from 1
    changed_at: datetime | None  # aware, UTC; None: never


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Which cases; what is None is not asked."""

    status: str | None = None
    outcome: str | None = None
    assignee: str | None = None
    card_token: str | None = None
    min_score: float | None = None
    since: datetime | None = None  # opened at or after
    until: datetime | None = None  # opened before


# Newest first, or highest score first; equal ones by id.
Order = Literal["newest", "score"]

# Where a page ended: the last case's opened_at, or its highest score, and its case_id.
Position = tuple[datetime, UUID] | tuple[float, UUID]

COLUMNS = sql.SQL(
    "case_id, card_token, opened_at, first_event_time, last_event_time, status, outcome, assignee,"
    " alert_count, open_count, currency, amount_minor, highest_score, version, changed_at"
)

_FILTERS: Mapping[str, Condition] = {
    "status": sql.SQL("status = %(status)s"),
    "outcome": sql.SQL("outcome = %(outcome)s"),
    "assignee": sql.SQL("assignee = %(assignee)s"),
    "card_token": sql.SQL("card_token = %(card_token)s"),
    "min_score": sql.SQL("highest_score >= %(min_score)s"),
    "since": sql.SQL("opened_at >= %(since)s"),
    "until": sql.SQL("opened_at < %(until)s"),
}

_BY = {"newest": sql.SQL("opened_at"), "score": sql.SQL("highest_score")}

_AFTER = sql.SQL("{by} <= %(after_value)s AND ({by} < %(after_value)s OR case_id > %(after_id)s)")

_PAGE = sql.SQL(
    "SELECT {columns} FROM alert_case WHERE {conditions}"
    " ORDER BY {by} DESC, case_id LIMIT %(limit)s"
)

_GET = sql.SQL("SELECT {columns} FROM alert_case WHERE case_id = %(case_id)s").format(
    columns=COLUMNS
)


def case_id(alert_id: UUID) -> UUID:
    """The id of the case that an alert opens: a name-based UUID of version 8 (RFC 9562, appendix
    B.2), the first 16 bytes of the SHA-256 of namespace and id."""
    made = bytearray(sha256(CASES.bytes + alert_id.bytes).digest()[:16])
    made[6] = made[6] & 0x0F | 0x80
    made[8] = made[8] & 0x3F | 0x80
    return UUID(bytes=bytes(made))


def page(
    conn: Connection[Any],
    which: CaseFilter,
    *,
    limit: int,
    order: Order = "newest",
    after: Position | None = None,
) -> list[Case]:
    """At most `limit` cases in this order; `after` is the position, in the same order, of the last
    one of the page before.

    Newest first, pages neither repeat nor lose any that were there. By score, one whose score rises
    meanwhile may move to a page that was read.
    """
    by = _BY[order]
    where, values = conditions(_FILTERS, which)
    if after is not None:
        where.append(_AFTER.format(by=by))
        values |= {"after_value": after[0], "after_id": after[1]}
    query = _PAGE.format(columns=COLUMNS, conditions=sql.SQL(" AND ").join(where), by=by)
    with conn.cursor(row_factory=class_row(Case)) as cursor:
        return cursor.execute(query, values | {"limit": limit}).fetchall()


def get(conn: Connection[Any], case_id: UUID) -> Case | None:
    """One case, or None where there is no such."""
    with conn.cursor(row_factory=class_row(Case)) as cursor:
        return cursor.execute(_GET, {"case_id": case_id}).fetchone()

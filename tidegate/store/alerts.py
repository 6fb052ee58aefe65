"""Alerts, as analysts read them. They are written with their decisions (`store.decisions`), and
changed by `store.alert_work`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg import Connection, sql
from psycopg.rows import class_row

from tidegate.store import alert_text
from tidegate.store.queries import Condition, conditions


@dataclass(frozen=True, slots=True)
class Alert:
    """A payment that was not approved."""

    alert_id: UUID
    transaction_id: str
    event_time: datetime  # aware, UTC
    card_token: str
    terminal_id: str
    merchant_id: str | None
    amount_minor: int  # minor units of the currency
    currency: str
    score: float  # probability, 0 to 1
    decision: str  # review or decline
    reasons: Sequence[Mapping[str, Any]]  # of {code, weight, text}
    model_version: str
    status: str  # open, investigating or closed
    created_at: datetime  # aware, UTC; the start of the transaction that stored it
    assignee: str | None  # who looks at it
    snoozed_until: datetime | None  # aware, UTC
    outcome: str | None  # fraud, genuine or unclear; only of a closed one
    version: int  # counts changes, from 1
    changed_at: datetime | None  # aware, UTC; None: never
    case_id: UUID | None  # None: one of before there were cases, not gathered yet


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts; what is None is not asked."""

    status: str | None = None
    outcome: str | None = None
    decision: str | None = None
    card_token: str | None = None
    terminal_id: str | None = None
    merchant_id: str | None = None
    case_id: UUID | None = None
    assignee: str | None = None
    unassigned: bool | None = None  # True: nobody's, False: somebody's
    snoozed: bool | None = None  # at this moment
    reason: str | None = None  # the code of one of the reasons
    min_score: float | None = None
    max_score: float | None = None
    min_amount_minor: int | None = None
    max_amount_minor: int | None = None
    currency: str | None = None
    text: str | None = None  # words, or how they begin; see `store.alert_text`
    since: datetime | None = None  # raised at or after
    until: datetime | None = None  # raised before


# Newest first, oldest first, highest score first or largest amount first (of one currency, which
# the filter must name); equal ones by id.
Order = Literal["newest", "oldest", "score", "amount"]

# Where a page ended: the last alert's created_at, score or amount, and its alert_id.
Position = tuple[datetime, UUID] | tuple[float, UUID] | tuple[int, UUID]

COLUMNS = sql.SQL(
    "alert_id, transaction_id, event_time, card_token, terminal_id, merchant_id, amount_minor,"
    " currency, score, decision, reasons, model_version, status, created_at, assignee,"
    " snoozed_until, outcome, version, changed_at, case_id"
)

# Reasons, bounds of amounts and what is not snoozed have no index of their own: alerts are read in
# their order until enough of them match. A code is the reason of many alerts, and most are not
# snoozed.
_FILTERS: Mapping[str, Condition] = {
    "status": sql.SQL("status = %(status)s"),
    "outcome": sql.SQL("outcome = %(outcome)s"),
    "decision": sql.SQL("decision = %(decision)s"),
    "card_token": sql.SQL("card_token = %(card_token)s"),
    "terminal_id": sql.SQL("terminal_id = %(terminal_id)s"),
    "merchant_id": sql.SQL("merchant_id = %(merchant_id)s"),
    "case_id": sql.SQL("case_id = %(case_id)s"),
    "assignee": sql.SQL("assignee = %(assignee)s"),
    "unassigned": {
        True: sql.SQL("assignee IS NULL"),
        False: sql.SQL("assignee IS NOT NULL"),
    },
    "snoozed": {
        True: sql.SQL("snoozed_until > now()"),
        False: sql.SQL("(snoozed_until IS NULL OR snoozed_until <= now())"),
    },
    "reason": sql.SQL("reasons @> jsonb_build_array(jsonb_build_object('code', %(reason)s::text))"),
    "min_score": sql.SQL("score >= %(min_score)s"),
    "max_score": sql.SQL("score <= %(max_score)s"),
    "min_amount_minor": sql.SQL("amount_minor >= %(min_amount_minor)s"),
    "max_amount_minor": sql.SQL("amount_minor <= %(max_amount_minor)s"),
    "currency": sql.SQL("currency = %(currency)s"),
    "text": alert_text.FOUND,
    "since": sql.SQL("created_at >= %(since)s"),
    "until": sql.SQL("created_at < %(until)s"),
}

_BY = {
    "newest": sql.SQL("created_at"),
    "oldest": sql.SQL("created_at"),
    "score": sql.SQL("score"),
    "amount": sql.SQL("amount_minor"),
}

# The columns run in opposite directions, so no row comparison says what comes after; its first
# condition is what the index is entered by. Oldest first, the same indexes are read backwards.
_DOWN = (
    sql.SQL("{by} DESC, alert_id"),
    sql.SQL("{by} <= %(after_value)s AND ({by} < %(after_value)s OR alert_id > %(after_id)s)"),
)
_UP = (
    sql.SQL("{by}, alert_id DESC"),
    sql.SQL("{by} >= %(after_value)s AND ({by} > %(after_value)s OR alert_id < %(after_id)s)"),
)

_SELECT = sql.SQL("SELECT {columns} FROM alert WHERE {conditions} ORDER BY {order}")

_GET = sql.SQL("SELECT {columns} FROM alert WHERE alert_id = %(alert_id)s").format(columns=COLUMNS)


def page(
    conn: Connection[Any],
    which: AlertFilter,
    *,
    limit: int,
    order: Order = "newest",
    after: Position | None = None,
) -> list[Alert]:
    """At most `limit` alerts in this order.

    `after` is the position, in the same order, of the last alert of the page before: rows that are
    added meanwhile neither repeat nor hide any that were there.
    """
    query, values = select(which, order, COLUMNS, after=after)
    query += sql.SQL(" LIMIT %(limit)s")
    with conn.cursor(row_factory=class_row(Alert)) as cursor:
        return cursor.execute(query, values | {"limit": limit}).fetchall()


def select(
    which: AlertFilter, order: Order, columns: sql.Composable, *, after: Position | None = None
) -> tuple[sql.Composed, dict[str, Any]]:
    """The query of alerts in this order, without an end, and its values."""
    by = _BY[order]
    sorted_by, beyond = _UP if order == "oldest" else _DOWN
    where, values = conditions(_FILTERS, which)
    if which.text is not None:
        values["text"] = alert_text.sought(which.text)
    if after is not None:
        where.append(beyond.format(by=by))
        values |= {"after_value": after[0], "after_id": after[1]}
    query = _SELECT.format(
        columns=columns, conditions=sql.SQL(" AND ").join(where), order=sorted_by.format(by=by)
    )
    return query, values


def get(conn: Connection[Any], alert_id: UUID) -> Alert | None:
    """One alert, or None where there is no such."""
    with conn.cursor(row_factory=class_row(Alert)) as cursor:
        return cursor.execute(_GET, {"alert_id": alert_id}).fetchone()

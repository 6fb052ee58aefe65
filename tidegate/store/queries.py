"""What the API reads of decisions, dead letters and models; alerts and totals have their own
modules. Every list is keyset-paged: the caller hands in the position of the last row it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision as a list shows it."""

    transaction_id: str
    event_time: datetime  # aware, UTC
    card_token: str
    terminal_id: str
    amount_minor: int  # minor units of the currency
    currency: str
    score: float  # probability, 0 to 1
    decision: str  # approve, review or decline
    reasons: Sequence[Mapping[str, Any]]  # of {code, weight, text}
    model_version: str
    policy_version: str
    scored_at: datetime  # aware, UTC


@dataclass(frozen=True, slots=True)
class DecisionRecord(StoredDecision):
    """A decision with everything that led to it."""

    merchant_id: str | None
    customer_id: str | None
    channel: str | None
    details: Mapping[str, Any] | None  # the other optional fields of the transaction
    log_odds: int  # fixed point
    propensity: float  # probability that a payment of this score is not declined
    features: bytes  # float32, little endian, one row


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decisions; what is None is not asked. Times are half open: since <= t < until."""

    card_token: str | None = None
    terminal_id: str | None = None
    decision: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredLabel:
    """One label of a transaction."""

    labelled_at: datetime
    source: str
    fraud: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be taken. `payload` was redacted before it was stored."""

    id: int
    topic: str
    partition: int
    offset: int
    at: datetime
    reason: str
    field: str | None
    detail: str
    payload: str
    stored_at: datetime
    replayed_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters; what is None is not asked."""

    reason: str | None = None
    topic: str | None = None
    replayed: bool | None = None  # False: only those that still wait


_LIST_COLUMNS = sql.SQL(
    "transaction_id, event_time, card_token, terminal_id, amount_minor, currency, score, decision,"
    " reasons, model_version, policy_version, scored_at"
)

_DECISION_FILTERS = {
    "card_token": sql.SQL("card_token = %(card_token)s"),
    "terminal_id": sql.SQL("terminal_id = %(terminal_id)s"),
    "decision": sql.SQL("decision = %(decision)s"),
    "since": sql.SQL("event_time >= %(since)s"),
    "until": sql.SQL("event_time < %(until)s"),
}

_DECISIONS_AFTER = sql.SQL(
    '(event_time, transaction_id COLLATE "C") < (%(after_at)s, %(after_id)s)'
)

# Indexes end at event_time; PostgreSQL sorts only within equal times.
_DECISIONS = sql.SQL(
    "SELECT {columns} FROM score WHERE {conditions}"
    ' ORDER BY event_time DESC, transaction_id COLLATE "C" DESC LIMIT %(limit)s'
)

_DECISION = sql.SQL(
    "SELECT {columns}, merchant_id, customer_id, channel, details, log_odds,"
    " coalesce(propensity, 1) AS propensity, features"
    " FROM score WHERE transaction_id = %(transaction_id)s ORDER BY event_time LIMIT 1"
).format(columns=_LIST_COLUMNS)

_LABELS = """
    SELECT labelled_at, source, fraud, reason FROM label WHERE transaction_id = %(transaction_id)s
    ORDER BY labelled_at DESC, fraud DESC, source
"""

_DEAD_LETTER_COLUMNS = sql.SQL(
    'id, topic, partition, "offset", at, reason, field, detail, payload, stored_at, replayed_at'
)

_DEAD_LETTER_FILTERS = {
    "reason": sql.SQL("reason = %(reason)s"),
    "topic": sql.SQL("topic = %(topic)s"),
    "replayed": sql.SQL("(replayed_at IS NOT NULL) = %(replayed)s"),
}

_DEAD_LETTERS = sql.SQL(
    "SELECT {columns} FROM dead_letter WHERE {conditions} ORDER BY id DESC LIMIT %(limit)s"
)

_DEAD_LETTER = sql.SQL("SELECT {columns} FROM dead_letter WHERE id = %(id)s").format(
    columns=_DEAD_LETTER_COLUMNS
)

# All at once and ids only: what is replayed and still bad becomes a new dead letter meanwhile, and
# must not be met again.
_WAITING = """
    SELECT id FROM dead_letter WHERE reason = %(reason)s AND replayed_at IS NULL ORDER BY id
"""


_NEWEST = "SELECT event_time, scored_at FROM score ORDER BY event_time DESC LIMIT 1"


# What a filter asks of a row; of one that is true or false, for each of the two.
Condition = sql.SQL | Mapping[bool, sql.SQL]


def conditions(
    filters: Mapping[str, Condition], which: Any
) -> tuple[list[sql.Composable], dict[str, Any]]:
    """The conditions of what a filter (a dataclass) asks, and their values; never empty.

    Conditions that do not apply are left out rather than made true by NULLs, so that each
    combination is planned for its own index.
    """
    values = {f.name: value for f in fields(which) if (value := getattr(which, f.name)) is not None}
    asked: list[sql.Composable] = [sql.SQL("true")]
    for name, value in values.items():
        condition = filters[name]
        asked.append(condition if isinstance(condition, sql.SQL) else condition[value])
    return asked, values


def decisions(
    conn: Connection[Any],
    which: DecisionFilter,
    *,
    limit: int,
    after: tuple[datetime, str] | None = None,
) -> list[StoredDecision]:
    """At most `limit` decisions, newest event time first; `after` is (event_time, transaction_id)
    of the last one of the page before."""
    where, values = conditions(_DECISION_FILTERS, which)
    if after is not None:
        where.append(_DECISIONS_AFTER)
        values |= {"after_at": after[0], "after_id": after[1]}
    query = _DECISIONS.format(columns=_LIST_COLUMNS, conditions=sql.SQL(" AND ").join(where))
    with conn.cursor(row_factory=class_row(StoredDecision)) as cursor:
        return cursor.execute(query, values | {"limit": limit}).fetchall()


def decision(conn: Connection[Any], transaction_id: str) -> DecisionRecord | None:
    """The decision of one transaction, or None where there is none."""
    with conn.cursor(row_factory=class_row(DecisionRecord)) as cursor:
        return cursor.execute(_DECISION, {"transaction_id": transaction_id}).fetchone()


def labels(conn: Connection[Any], transaction_id: str) -> list[StoredLabel]:
    """The labels of one transaction; the first one stands."""
    with conn.cursor(row_factory=class_row(StoredLabel)) as cursor:
        return cursor.execute(_LABELS, {"transaction_id": transaction_id}).fetchall()


def dead_letters(
    conn: Connection[Any], which: DeadLetterFilter, *, limit: int, after: int | None = None
) -> list[DeadLetter]:
    """At most `limit` dead letters, last stored first; `after` is the id of the last one of the
    page before."""
    where, values = conditions(_DEAD_LETTER_FILTERS, which)
    if after is not None:
        where.append(sql.SQL("id < %(after)s"))
        values |= {"after": after}
    query = _DEAD_LETTERS.format(
        columns=_DEAD_LETTER_COLUMNS, conditions=sql.SQL(" AND ").join(where)
    )
    with conn.cursor(row_factory=class_row(DeadLetter)) as cursor:
        return cursor.execute(query, values | {"limit": limit}).fetchall()


def dead_letter(conn: Connection[Any], id: int) -> DeadLetter | None:
    """One dead letter, or None where there is no such."""
    with conn.cursor(row_factory=class_row(DeadLetter)) as cursor:
        return cursor.execute(_DEAD_LETTER, {"id": id}).fetchone()


def waiting(conn: Connection[Any], reason: str) -> list[int]:
    """The ids of all dead letters of a reason that were not replayed yet, first stored first."""
    with conn.cursor() as cursor:
        return [int(id) for (id,) in cursor.execute(_WAITING, {"reason": reason})]


def newest_decision(conn: Connection[Any]) -> tuple[datetime, datetime] | None:
    """(event_time, scored_at) of the decision with the newest event time."""
    with conn.cursor() as cursor:
        row = cursor.execute(_NEWEST).fetchone()
    return None if row is None else (row[0], row[1])

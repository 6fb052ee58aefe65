"""Alerts for export: all that a filter leaves, in one snapshot, a batch at a time."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from psycopg import ServerCursor, sql

from tidegate.store.alerts import AlertFilter, Order, select
from tidegate.store.connection import Conn, MicrosLoader

# In this order. Times come as microseconds since 1970, ids and reasons as text.
COLUMNS = (
    "alert_id",
    "case_id",
    "transaction_id",
    "event_time",
    "created_at",
    "card_token",
    "terminal_id",
    "merchant_id",
    "amount_minor",
    "currency",
    "score",
    "decision",
    "status",
    "outcome",
    "assignee",
    "snoozed_until",
    "changed_at",
    "version",
    "model_version",
    "reasons",
)
_AS_TEXT = ("alert_id", "case_id", "reasons")
_SELECTED = sql.SQL(", ").join(
    sql.SQL("{}::text").format(sql.Identifier(name)) if name in _AS_TEXT else sql.Identifier(name)
    for name in COLUMNS
)

ONE_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
PATIENT = "SELECT set_config('statement_timeout', %(milliseconds)s, true)"


def batches(
    conn: Conn, which: AlertFilter, order: Order, *, size: int, timeout: float
) -> Generator[list[tuple[Any, ...]], None, None]:
    """Rows of COLUMNS, at most `size` in a batch, as the alerts are at the first one. The
    transaction must be a new one and lasts until the caller ends it; `timeout` (seconds) bounds
    each batch, not the whole."""
    conn.execute(ONE_SNAPSHOT)
    conn.execute(PATIENT, {"milliseconds": str(int(timeout * 1000))})
    query, values = select(which, order, _SELECTED)
    with ServerCursor(conn, "export") as cursor:
        cursor.adapters.register_loader("timestamptz", MicrosLoader)
        cursor.execute(query, values, binary=True)
        while rows := cursor.fetchmany(size):
            yield rows

"""Takes away what is older than its retention, where no policy of TimescaleDB does it.

Alerts and labels stay when the decision they belong to goes: they are small and the analysts'
record. A model version goes when no decision that is kept can name it, and a newer one is there. A
row that comes late, older than its retention, is written as any other and goes at the next round.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tidegate.store import inbox, policies
from tidegate.store.connection import Conn
from tidegate.store.policies import Kind, Retention, Table

BATCH = 10_000  # rows of one transaction: some 0.1 s, in which its locks are held

DROP = "SELECT drop_chunks(%(name)s::regclass, older_than => %(before)s::timestamptz)"

DELETE = """
WITH old AS MATERIALIZED (
    SELECT ctid, {time} AS at FROM {table} WHERE {time} >= %(after)s AND {time} < %(before)s
    ORDER BY {time} LIMIT %(batch)s
), gone AS (
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM old)) RETURNING 1
)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM old), (SELECT max(at) FROM old)
"""

# Of this transaction alone: see the audit's trigger in migrations/versions/0011_access.py.
AGED = "SET LOCAL tidegate.audit_retention = 'on'"

# What is not known to be used by no decision that is kept, stays; and the newest of each model.
DELETE_VERSIONS = """
DELETE FROM model_version WHERE version = ANY(ARRAY(
    SELECT version FROM model_version AS old
    WHERE used_until < %(before)s AND EXISTS (
        SELECT FROM model_version AS newer
        WHERE newer.name = old.name AND newer.stream_time > old.stream_time
    )
    ORDER BY used_until LIMIT %(batch)s
))
"""
_VERSIONS = 200  # of one transaction: some 10 MB of contents


EVENTS = (Table("alert_event", "at"), Table("webhook_delivery", "at"))


@dataclass(frozen=True, slots=True)
class Removed:
    """What was taken away at once: a batch of rows, or whole chunks."""

    table: str
    rows: int = 0
    chunks: int = 0


def enforce(
    conn: Conn, retention: Retention, now: datetime, *, batch: int = BATCH
) -> Iterator[Removed]:
    """Takes away what is older than its retention, and tells after each step; the caller may stop
    between any two. The connection must be in autocommit, so that each step is a transaction.

    Versions, the inbox and events only where policies do the rest. Rows of the audit refuse to be
    deleted, unless their transaction says that it is for their age; what is newer than 30 days goes
    for nobody.
    """
    kind, _ = policies.kind(conn)
    if retention.score_days:
        yield from _versions(conn, now - timedelta(retention.score_days))
    if retention.inbox_days:
        yield from _inbox(conn, now - timedelta(retention.inbox_days), batch)
    if retention.event_days:
        # No hypertables: they are small, and a delivery is changed with each try.
        for table in EVENTS:
            yield from _delete(conn, table, now - timedelta(retention.event_days), batch)
    if kind == Kind.COMMUNITY:
        return
    if retention.count_days:
        # Whole days, of which nothing is counted anew: see `aggregates.refresh`, and its floor.
        day = (now - timedelta(retention.count_days)).astimezone(UTC)
        before = day.replace(hour=0, minute=0, second=0, microsecond=0)
        for name in policies.COUNTS:
            yield from _delete(conn, Table(name + "_kept", "bucket"), before, batch)
    for table in policies.TABLES:
        days = policies.days(table, retention)
        if not days:
            continue
        before = now - timedelta(days)
        if kind == Kind.APACHE:
            dropped = conn.execute(DROP, {"name": table.name, "before": before}).fetchall()
            if dropped:
                yield Removed(table.name, chunks=len(dropped))
        else:
            yield from _delete(conn, table, before, batch)


def _versions(conn: Conn, before: datetime) -> Iterator[Removed]:
    while True:
        gone = conn.execute(DELETE_VERSIONS, {"before": before, "batch": _VERSIONS}).rowcount
        if gone:
            yield Removed("model_version", rows=gone)
        if gone < _VERSIONS:
            return


def _inbox(conn: Conn, before: datetime, batch: int) -> Iterator[Removed]:
    for name, forget in (("inbox", inbox.forget), ("idempotency_key", inbox.forget_keys)):
        while gone := forget(conn, before, batch):
            yield Removed(name, rows=gone)
            if gone < batch:
                break


def _delete(conn: Conn, table: Table, before: datetime, batch: int) -> Iterator[Removed]:
    # Oldest first, each batch from where the last one ended: what an index still holds of deleted
    # rows is not walked again. The times of metrics have no index of their own, so a batch of those
    # reads the table, which is small.
    delete = DELETE.format(table=table.name, time=table.time)
    after: Any = "-infinity"
    while True:
        values = {"after": after, "before": before, "batch": batch}
        with conn.transaction():
            if table.name == "audit":
                conn.execute(AGED)
            gone, seen, last = conn.execute(delete, values).fetchone() or (0, 0, None)
        if gone:
            yield Removed(table.name, rows=gone)
        if seen < batch or not gone:  # none: somebody changed them all meanwhile, the next round
            return
        after = last

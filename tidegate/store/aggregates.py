"""The counted decisions that `traffic` reads: of which kind they are, and bringing them up to date.

How both kinds work, and why the plain one is right while others write, is told in
`migrations/versions/0003_aggregates.py`.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from psycopg.pq import TransactionStatus

from tidegate.store.connection import Conn


class Kind(Enum):
    """What counts decisions in this database."""

    CONTINUOUS = "TimescaleDB's continuous aggregates"  # with policies that refresh them
    KEPT = "plain tables"  # right at once, and fast as long as somebody calls `refresh`


# Each after what it is made of.
AGGREGATES = (
    "decision_minute",
    "decision_hour",
    "decision_day",
    "terminal_hour",
    "terminal_day",
    "merchant_hour",
    "merchant_day",
)

# A day that is replayed and some hours of late payments, or few rows, are counted in a moment.
STALE_HOURS = 48
EXACT_BELOW = 200_000  # rows

# Chunks of a hypertable inherit from it; a plain table has no heirs and is its own only part.
_ESTIMATE = """
    SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class
    WHERE oid = 'score'::regclass
    OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'score'::regclass)
"""

_KEPT = "SELECT to_regclass('stale_mark') IS NOT NULL"

# From one stale hour to the next, by the key: marks are many where nobody refreshes.
_STALE_HOURS = """
    WITH RECURSIVE stale (hour, n) AS (
        SELECT date_bin('1 hour', min(minute), '2000-01-01 00:00+00'), 1
        FROM stale_mark WHERE minute >= (SELECT before FROM aggregate_floor)
        UNION ALL
        SELECT (
            SELECT date_bin('1 hour', min(minute), '2000-01-01 00:00+00')
            FROM stale_mark WHERE minute >= stale.hour + INTERVAL '1 hour'
        ), n + 1
        FROM stale WHERE stale.hour IS NOT NULL AND n <= %(most)s
    )
    SELECT count(hour) FROM stale
"""

_ONE_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"

# Before the snapshot, which this statement does not take. Nobody who reads or writes waits for it.
_TAKE_TURNS = "LOCK TABLE decision_minute_kept IN SHARE UPDATE EXCLUSIVE MODE"

_REFRESH_KEPT = "SELECT refresh_kept()"

# What may be counted anew: nothing that is final, and nothing of chunks that are dropped.
_SINCE = """
    SELECT nullif(greatest(before, (
        SELECT min(range_start) FROM timescaledb_information.chunks
        WHERE hypertable_schema = current_schema() AND hypertable_name = 'score'
    )), '-infinity') FROM aggregate_floor
"""

# Nothing where there is no moment.
_RAISE_FLOOR = """
    UPDATE aggregate_floor
    SET before = date_bin('1 hour', %(before)s::timestamptz + INTERVAL '1 hour' - INTERVAL '1 us',
                          '2000-01-01 00:00+00')
    WHERE %(before)s::timestamptz > before
"""

# Whole buckets of the window only, so the one that is being filled stays live.
_REFRESH = "CALL refresh_continuous_aggregate(%s, %s::timestamptz, now())"


def kind(conn: Conn) -> Kind:
    """Which of the two the migrations made here."""
    row = conn.execute(_KEPT).fetchone()
    return Kind.KEPT if row is not None and row[0] else Kind.CONTINUOUS


def behind(conn: Conn, *, exact_below: int = EXACT_BELOW) -> bool:
    """Whether so much waits for a refresh that counting it as it is read takes seconds: more than
    STALE_HOURS hours of a `score` of `exact_below` rows or more. Never on TimescaleDB, whose
    policies do it."""
    if kind(conn) is Kind.CONTINUOUS or estimate(conn) < exact_below:
        return False
    row = conn.execute(_STALE_HOURS, {"most": STALE_HOURS}).fetchone()
    return row is not None and int(row[0]) > STALE_HOURS


def estimate(conn: Conn) -> int:
    """How many rows `score` has in PostgreSQL's own estimate; 0 where it has none yet."""
    row = conn.execute(_ESTIMATE).fetchone()
    return 0 if row is None else int(row[0])


def refresh(conn: Conn, *, final_before: datetime | None = None) -> None:
    """Counts everything that was written since the last refresh.

    `conn` must be in autocommit mode, outside of a transaction: TimescaleDB demands it, and the
    plain kind needs a snapshot of its own (ValueError). To be called every minute or so on the
    plain kind, and on either after an import of history.

    Whoever deletes raw rows before a moment calls this first with that moment as `final_before`:
    what is counted of the time before (up to the next full hour) stays for ever as it is then, and
    rows that come to it later are not counted. It never goes back.
    """
    if not conn.autocommit or conn.info.transaction_status != TransactionStatus.IDLE:
        raise ValueError("a refresh needs a connection in autocommit mode, outside a transaction")
    if kind(conn) is Kind.KEPT:
        with conn.transaction():
            conn.execute(_ONE_SNAPSHOT)
            conn.execute(_TAKE_TURNS)
            conn.execute(_REFRESH_KEPT)
            conn.execute(_RAISE_FLOOR, {"before": final_before})
        return
    row = conn.execute(_SINCE).fetchone()
    since = None if row is None else row[0]
    for name in AGGREGATES:
        conn.execute(_REFRESH, (name, since))
    conn.execute(_RAISE_FLOOR, {"before": final_before})

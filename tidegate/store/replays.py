"""Decisions with all that is needed to make them again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import class_row

from tidegate.store.connection import Conn

AT_ONCE = 100  # decisions read at a time, and in a row where a sample is taken

ONE = """
SELECT transaction_id, event_time, features, log_odds, decision, model_version, policy_version
FROM score WHERE transaction_id = %(transaction_id)s ORDER BY event_time LIMIT 1
"""

NEXT = """
SELECT transaction_id, event_time, features, log_odds, decision, model_version, policy_version
FROM score
WHERE (event_time, transaction_id COLLATE "C") > (%(at)s, %(id)s)
ORDER BY event_time, transaction_id COLLATE "C" LIMIT %(limit)s
"""

ENDS = "SELECT min(event_time), max(event_time) FROM score"

ENOUGH = "SELECT count(*) FROM (SELECT FROM score LIMIT %(limit)s) AS taken"


@dataclass(frozen=True, slots=True)
class Made:
    """A decision as it is stored, with what it was made from."""

    transaction_id: str
    event_time: datetime  # aware, UTC
    features: bytes  # float32, little endian, one row
    log_odds: int  # fixed point
    decision: str  # approve, review or decline
    model_version: str
    policy_version: str


def made(conn: Conn, transaction_id: str) -> Made | None:
    """The decision of one transaction; None where there is none. Of an id that was used again it
    is the first one's."""
    with conn.cursor(row_factory=class_row(Made)) as cur:
        return cur.execute(ONE, {"transaction_id": transaction_id}).fetchone()


def sample(conn: Conn, most: int) -> Iterator[list[Made]]:
    """About `most` decisions, or all if there are no more: runs of `AT_ONCE` neighbours, evenly
    over the event time, each at most once. A list a run."""
    (first, last) = conn.execute(ENDS).fetchone() or (None, None)
    if first is None or last is None:
        return
    (there,) = conn.execute(ENOUGH, {"limit": most + 1}).fetchone() or (0,)
    before = (first - timedelta(microseconds=1), "")
    if there <= most:
        while run := _next(conn, before, AT_ONCE):
            yield run
            before = (run[-1].event_time, run[-1].transaction_id)
        return
    runs = -(-most // AT_ONCE)
    for number in range(runs):
        limit = min(AT_ONCE, most - number * AT_ONCE)
        start = first + (last - first) * number / runs
        # Where little was paid, a run reaches beyond the next one's start.
        before = max(before, (start, ""))
        if run := _next(conn, before, limit):
            yield run
            before = (run[-1].event_time, run[-1].transaction_id)


def _next(conn: Conn, before: tuple[datetime, str], limit: int) -> list[Made]:
    values: dict[str, Any] = {"at": before[0], "id": before[1], "limit": limit}
    with conn.cursor(row_factory=class_row(Made)) as cur:
        return cur.execute(NEXT, values).fetchall()

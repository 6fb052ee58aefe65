"""Decisions over time, in all and by terminal and merchant, read from what is counted already.

The same queries on TimescaleDB and without it. Everything is told by buckets of event time (UTC):
a bucket belongs to a span when it begins in it, since <= bucket < until, so spans that begin and
end between buckets are cut to whole ones. Buckets without decisions have no row.

On TimescaleDB a row that comes late, to a bucket that is materialized, is counted at the next
refresh; without it at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any, LiteralString

import numpy as np
from psycopg.rows import class_row

from tidegate.schema import Ints, to_datetime
from tidegate.store.connection import POSTGRES_EPOCH, Conn

# The edges that the migrations count rows below; see `0003_aggregates`.
SCORE_EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 900)  # thousandths
LATENCY_EDGES = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000)  # ms


class Step(Enum):
    """How long a bucket is."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"  # of UTC


@dataclass(frozen=True, slots=True)
class DecidedSeries:
    """One kind of decision in one currency over time; columns of one length, oldest first.

    Columns, as a month of hours is thousands of buckets: an object for each takes longer to make
    than the database needs to find it.
    """

    currency: str
    decision: str  # approve, review or decline
    buckets: Sequence[datetime]  # their begins, event time, aware, UTC
    decisions: Sequence[int]
    amount_minor: Sequence[int]  # their sums, minor units of the currency


@dataclass(frozen=True, slots=True)
class EntitySeries:
    """A terminal's or a merchant's decisions in one currency over time; columns as above."""

    currency: str
    buckets: Sequence[datetime]  # their begins, event time, aware, UTC
    decisions: Sequence[int]
    not_approved: Sequence[int]  # how many of them were review or decline
    amount_minor: Sequence[int]  # their sums, minor units of the currency


@dataclass(frozen=True, slots=True)
class TopTerminal:
    """A terminal with many decisions that are not approve."""

    terminal_id: str
    decisions: int
    not_approved: int


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """How many scores are at least `low` and below `high` (of the last bin also those at it)."""

    low: float  # probability
    high: float
    decisions: int


@dataclass(frozen=True, slots=True)
class Latency:
    """From event time to decision, in seconds, interpolated evenly between two edges.

    Below the first edge (.01) it is taken to begin at 0; 300 means that or more.
    """

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Spread:
    """How scores and latencies were spread over a span."""

    decisions: int
    scores: Sequence[ScoreBin]  # together from 0 to 1
    latency: Latency | None  # None where there was no decision


# A column of all rows comes as one value: thousands of rows take PostgreSQL longer to send, and
# Python to make objects of, than to find. Rows are sorted and divided into series here, as
# PostgreSQL is slower at that. Sums of amounts may be larger than any array's integers.
_ARRAY = "array_send(array_agg({}))"
_BUCKETS, _DECISIONS = _ARRAY.format("bucket"), _ARRAY.format("decisions")
_NOT_APPROVED = _ARRAY.format("not_approved")
_AMOUNTS = "string_agg(amount_minor::text, ' '), max(abs(amount_minor)) < 1e18"

# What tells the series apart, in as many characters for each row.
_KINDS = {"a": "approve", "r": "review", "d": "decline"}

_DECIDED = {
    step: f"""
        SELECT string_agg(left(decision, 1) || currency, ''), {_BUCKETS}, {_AMOUNTS}, {_DECISIONS}
        FROM decision_{step.value}
        WHERE bucket >= %(since)s AND bucket < %(until)s
    """
    for step in Step
}

_SCORES_BELOW = ", ".join(f"sum(score_below_{edge})::bigint" for edge in SCORE_EDGES)
_LATENCIES_BELOW = ", ".join(f"sum(latency_below_{edge})::bigint" for edge in LATENCY_EDGES)

_SPREAD = {
    step: f"""
        SELECT sum(decisions)::bigint, {_SCORES_BELOW}, {_LATENCIES_BELOW}
        FROM decision_{step.value}
        WHERE bucket >= %(since)s AND bucket < %(until)s
    """
    for step in Step
}

_ENTITY = {
    (subject, step): f"""
        SELECT string_agg(currency, ''), {_BUCKETS}, {_AMOUNTS}, {_DECISIONS}, {_NOT_APPROVED}
        FROM {subject}_{step.value}
        WHERE {subject}_id = %(id)s AND bucket >= %(since)s AND bucket < %(until)s
    """
    for subject in ("terminal", "merchant")
    for step in (Step.HOUR, Step.DAY)
}

_TOP_TERMINALS = {
    step: f"""
        SELECT terminal_id, sum(decisions)::bigint AS decisions,
               sum(not_approved)::bigint AS not_approved
        FROM terminal_{step.value}
        WHERE bucket >= %(since)s AND bucket < %(until)s
        GROUP BY terminal_id
        HAVING sum(not_approved) > 0
        ORDER BY sum(not_approved) DESC, sum(decisions), terminal_id COLLATE "C"
        LIMIT %(limit)s
    """
    for step in (Step.HOUR, Step.DAY)
}


def decided(conn: Conn, step: Step, *, since: datetime, until: datetime) -> list[DecidedSeries]:
    """Decisions over time: a series for each currency and decision that there was, by both."""
    found = []
    for part in _series(conn, _DECIDED[step], {"since": since, "until": until}):
        (decisions,) = part.counts
        kind, currency = _KINDS[part.key[0]], part.key[1:]
        found.append(DecidedSeries(currency, kind, part.buckets, decisions, part.amounts))
    return sorted(found, key=lambda series: (series.currency, series.decision))


def spread(conn: Conn, step: Step, *, since: datetime, until: datetime) -> Spread:
    """How scores and latencies were spread over the span; the longer the step, the less is read."""
    row = conn.execute(_SPREAD[step], {"since": since, "until": until}).fetchone()
    if row is None or row[0] is None:
        row = (0,) * (1 + len(SCORE_EDGES) + len(LATENCY_EDGES))
    count, scores, latencies = row[0], row[1 : 1 + len(SCORE_EDGES)], row[1 + len(SCORE_EDGES) :]
    edges = [0.0, *(edge / 1000 for edge in SCORE_EDGES), 1.0]
    below = [0, *scores, count]
    return Spread(
        decisions=count,
        scores=tuple(
            ScoreBin(edges[n], edges[n + 1], below[n + 1] - below[n]) for n in range(len(edges) - 1)
        ),
        latency=_latency(count, latencies) if count else None,
    )


def terminal(
    conn: Conn, terminal_id: str, step: Step, *, since: datetime, until: datetime
) -> list[EntitySeries]:
    """A terminal's decisions over time (by hour or day): a series for each currency."""
    return _entity(conn, _ENTITY["terminal", step], terminal_id, since, until)


def merchant(
    conn: Conn, merchant_id: str, step: Step, *, since: datetime, until: datetime
) -> list[EntitySeries]:
    """A merchant's decisions over time (by hour or day): a series for each currency."""
    return _entity(conn, _ENTITY["merchant", step], merchant_id, since, until)


def top_terminals(
    conn: Conn, step: Step, *, since: datetime, until: datetime, limit: int
) -> list[TopTerminal]:
    """At most `limit` terminals with the most decisions that are not approve, most first; of
    equals the one with fewer decisions, then by id."""
    values = {"since": since, "until": until, "limit": limit}
    with conn.cursor(row_factory=class_row(TopTerminal)) as cursor:
        return cursor.execute(_TOP_TERMINALS[step], values).fetchall()


def _entity(
    conn: Conn, query: LiteralString, id: str, since: datetime, until: datetime
) -> list[EntitySeries]:
    found = []
    for part in _series(conn, query, {"id": id, "since": since, "until": until}):
        decisions, refused = part.counts
        found.append(EntitySeries(part.key, part.buckets, decisions, refused, part.amounts))
    return found


@dataclass(frozen=True, slots=True)
class _Series:
    key: str  # what tells it from the others
    buckets: Sequence[datetime]
    amounts: Sequence[int]
    counts: tuple[Sequence[int], ...]  # as the query names them


def _series(conn: Conn, query: LiteralString, values: Mapping[str, Any]) -> Iterator[_Series]:
    """The series that a query gives, by their keys; columns oldest bucket first."""
    row = conn.execute(query, values, binary=True).fetchone()
    if row is None or row[0] is None:
        return
    keys, buckets, amounts, small, *columns = row
    times = _integers(buckets)
    marks = np.array([keys], "U").view(f"U{len(keys) // len(times)}")
    order = np.lexsort((times, marks))
    marks, times = marks[order], times[order]
    ends = [*(np.flatnonzero(marks[1:] != marks[:-1]) + 1).tolist(), len(marks)]
    sums = np.fromstring(amounts, np.int64, sep=" ") if small else np.array(amounts.split(" "))
    sums = sums[order]
    told = [_integers(column)[order] for column in columns]
    seen: dict[bytes, list[datetime]] = {}  # most series have the same buckets
    start = 0
    for end in ends:
        mine = times[start:end]
        begins = seen.get(mine.tobytes())
        if begins is None:
            begins = seen[mine.tobytes()] = [*map(_begin, mine.tolist())]
        part = sums[start:end]
        yield _Series(
            str(marks[start]),
            begins,
            part.tolist() if small else [*map(int, part)],
            tuple(column[start:end].tolist() for column in told),
        )
        start = end


@lru_cache(maxsize=100_000)
def _begin(time: int) -> datetime:
    return to_datetime(time + POSTGRES_EPOCH)


# What `array_send` gives of integers of eight bytes, and of times, which are such microseconds.
_HEAD = 20  # bytes: dimensions, nulls, type, length, first index
_ELEMENT = np.dtype([("length", ">i4"), ("value", ">i8")])


def _integers(column: bytes) -> Ints:
    return np.frombuffer(column, _ELEMENT, offset=_HEAD)["value"].astype(np.int64)


def _latency(count: int, below: Sequence[int]) -> Latency:
    return Latency(*(_percentile(share, count, below) for share in (0.5, 0.95, 0.99)))


def _percentile(share: float, count: int, below: Sequence[int]) -> float:
    """Seconds that the share of all latencies stays below."""
    wanted = share * count
    low, low_count = 0.0, 0
    for edge, edge_count in zip(LATENCY_EDGES, below, strict=True):
        high = edge / 1000
        if edge_count >= wanted and edge_count > low_count:
            return low + (high - low) * (wanted - low_count) / (edge_count - low_count)
        low, low_count = high, edge_count
    return low

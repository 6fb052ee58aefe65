"""Decisions over time, in all and by terminal and merchant, read from what is counted already.

The same queries on TimescaleDB and without it. Everything is told by buckets of event time (UTC):
a bucket belongs to a span when it begins in it, since <= bucket < until, so spans that begin and
end between buckets are cut to whole ones. Buckets without decisions have no row.

On TimescaleDB a row that comes late, to a bucket that is materialized, is counted at the next
refresh; without it at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, LiteralString

import numpy as np
from psycopg.rows import class_row

from tidegate.schema import to_datetime
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


# A column of a series comes as one value: thousands of rows take PostgreSQL longer to send, and
# Python to make objects of, than to find. Sums of amounts may be larger than any array's integers.
# Rows are sorted here, as PostgreSQL's sort is slower.
_ARRAY = "array_send(array_agg({}))"
_BUCKETS, _DECISIONS = _ARRAY.format("bucket"), _ARRAY.format("decisions")
_NOT_APPROVED = _ARRAY.format("not_approved")
_AMOUNTS = "string_agg(amount_minor::text, ' ')"

_DECIDED = {
    step: f"""
        SELECT currency, decision, {_BUCKETS}, {_DECISIONS}, {_AMOUNTS}
        FROM decision_{step.value}
        WHERE bucket >= %(since)s AND bucket < %(until)s
        GROUP BY currency, decision
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
        SELECT currency, {_BUCKETS}, {_DECISIONS}, {_NOT_APPROVED}, {_AMOUNTS}
        FROM {subject}_{step.value}
        WHERE {subject}_id = %(id)s AND bucket >= %(since)s AND bucket < %(until)s
        GROUP BY currency
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
    rows = conn.execute(_DECIDED[step], {"since": since, "until": until}, binary=True).fetchall()
    ordered = _Ordered()
    return [
        DecidedSeries(currency, decision, *ordered(buckets, *columns))
        for currency, decision, buckets, *columns in sorted(rows)
    ]


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
    values = {"id": id, "since": since, "until": until}
    rows = conn.execute(query, values, binary=True).fetchall()
    ordered = _Ordered()
    return [
        EntitySeries(currency, *ordered(buckets, *columns))
        for currency, buckets, *columns in sorted(rows)
    ]


class _Ordered:
    """Columns of a series as lists, oldest bucket first.

    Most series of a reply have the same buckets in the same order: they are worked out once.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[list[datetime], list[int]]] = {}
        self._begins: dict[int, datetime] = {}

    def __call__(self, buckets: bytes, *columns: bytes | str) -> Iterator[Any]:
        seen = self._seen.get(buckets)
        if seen is None:
            times = _integers(buckets)
            order = sorted(range(len(times)), key=times.__getitem__)
            seen = [self._begin(times[n]) for n in order], order
            self._seen[buckets] = seen
        begins, order = seen
        yield begins
        for column in map(_integers, columns):
            yield [column[n] for n in order]

    def _begin(self, time: int) -> datetime:
        begin = self._begins.get(time)
        if begin is None:
            begin = self._begins[time] = to_datetime(time + POSTGRES_EPOCH)
        return begin


# What `array_send` gives of integers of eight bytes, and of times, which are such microseconds.
_HEAD = 20  # bytes: dimensions, nulls, type, length, first index
_ELEMENT = np.dtype([("length", ">i4"), ("value", ">i8")])


def _integers(column: bytes | str) -> list[int]:
    if isinstance(column, str):
        return [*map(int, column.split(" "))]
    values: list[int] = np.frombuffer(column, _ELEMENT, offset=_HEAD)["value"].tolist()
    return values


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

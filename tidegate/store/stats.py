"""How the models do and what the stream came to: series, versions and totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import class_row

from tidegate.store import aggregates
from tidegate.store import totals as running

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a metric."""

    at: datetime  # event time, aware, UTC
    value: float
    examples: int  # how many labelled transactions it rests on


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A published model version, without its content."""

    version: str  # SHA-256 of the content, hexadecimal
    name: str
    stream_time: datetime  # the event time up to which it knows labels
    examples: int
    frauds: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model's newest version and the newest value of each of its metrics."""

    name: str
    latest: VersionInfo | None  # None before the first version is published
    metrics: Mapping[str, Point]


@dataclass(frozen=True, slots=True)
class Totals:
    """What the stream came to so far."""

    scored: int
    approximate: bool  # `scored` is an estimate, and with it what was approved
    decisions: Mapping[str, int]  # approve, review, decline
    alerts: Mapping[str, int]  # open, investigating, closed
    labels: Mapping[str, int]  # labels received, by source
    frauds: int  # transactions whose standing label says fraud
    dead_letters: Mapping[str, int]  # by reason
    stream_time: datetime | None  # newest event time
    last_hour: int  # transactions in the hour up to the stream's time
    last_day: int
    model: str | None  # the model that made the newest decision
    metrics: Mapping[str, Point]  # newest values of that model's metrics


_VERSION = "version, name, stream_time, examples, frauds, created_at"

_VERSIONS = f"""
    SELECT {_VERSION} FROM model_version
    WHERE name = %(name)s
    AND (%(after_at)s::timestamptz IS NULL
         OR (stream_time, version COLLATE "C") < (%(after_at)s, %(after_version)s::text))
    ORDER BY stream_time DESC, version COLLATE "C" DESC LIMIT %(limit)s
"""

# Recursion jumps from name to name in the indexes, where DISTINCT would read every row.
_NAMES = """
    WITH RECURSIVE names(name) AS (
        SELECT %(after)s::text
        UNION ALL
        SELECT least(
            (SELECT min(v.name) FROM model_version v WHERE v.name > names.name),
            (SELECT min(m.name) FROM model_metric m WHERE m.name > names.name),
            (SELECT min(r.name) FROM model r WHERE r.name > names.name)
        ) FROM names WHERE names.name IS NOT NULL
    )
    SELECT name FROM names WHERE name > %(after)s LIMIT %(limit)s
"""

# NaN is greater than infinity in PostgreSQL, so this leaves out both.
FINITE = "value > '-infinity' AND value < 'infinity'"

# As of names. The last one is null, and has no values.
_METRICS = """
    WITH RECURSIVE metrics(metric) AS (
        SELECT min(metric) FROM model_metric WHERE name = %(name)s
        UNION ALL
        SELECT (
            SELECT min(metric) FROM model_metric WHERE name = %(name)s AND metric > metrics.metric
        ) FROM metrics WHERE metrics.metric IS NOT NULL
    )
"""

_VALUES = f"""
    FROM model_metric AS m
    WHERE m.name = %(name)s AND m.metric = metrics.metric AND {FINITE}
"""

_LATEST_METRICS = f"""{_METRICS}
    SELECT metrics.metric, newest.at, newest.value, newest.examples
    FROM metrics CROSS JOIN LATERAL (
        SELECT at, value, examples {_VALUES} ORDER BY at DESC LIMIT 1
    ) AS newest
    ORDER BY 1
"""

# Of few values all. Of more, the time from the first to the newest is cut into `points` equal
# pieces and the last value of each is looked up, so that years are read no slower than days.
_SERIES = f"""{_METRICS}, ends AS MATERIALIZED (
        SELECT metrics.metric, oldest.at AS oldest, newest.at AS newest,
               (SELECT count(*) FROM (SELECT {_VALUES} LIMIT %(points)s + 1) AS few)
                   > %(points)s AS many
        FROM metrics
        CROSS JOIN LATERAL (SELECT at {_VALUES} ORDER BY at LIMIT 1) AS oldest
        CROSS JOIN LATERAL (SELECT at {_VALUES} ORDER BY at DESC LIMIT 1) AS newest
    )
    SELECT metrics.metric, v.at, v.value, v.examples
    FROM ends AS metrics CROSS JOIN LATERAL (SELECT at, value, examples {_VALUES}) AS v
    WHERE NOT many
    UNION ALL
    SELECT metrics.metric, v.at, v.value, v.examples
    FROM ends AS metrics
    CROSS JOIN LATERAL generate_series(1, %(points)s::integer) AS piece
    CROSS JOIN LATERAL (
        SELECT at, value, examples {_VALUES}
            AND at > CASE piece WHEN 1 THEN '-infinity'::timestamptz
                ELSE oldest + (newest - oldest) * ((piece - 1.0) / %(points)s) END
            AND at <= CASE piece WHEN %(points)s THEN newest
                ELSE oldest + (newest - oldest) * (piece::float8 / %(points)s) END
        ORDER BY at DESC LIMIT 1
    ) AS v
    WHERE many
    ORDER BY metric, at
"""

_DECIDED = "SELECT decision, sum(decisions)::bigint FROM decision_day GROUP BY decision"

_NEWEST = "SELECT max(event_time) FROM score"

# What is later than a moment: rows to the next minute, minutes to the next hour, and hours.
_LATER = """
    SELECT (SELECT count(*) FROM score WHERE event_time > %(at)s AND event_time < %(minute)s)
        + (SELECT coalesce(sum(decisions), 0) FROM decision_minute
           WHERE bucket >= %(minute)s AND bucket < %(hour)s)::bigint
        + (SELECT coalesce(sum(decisions), 0) FROM decision_hour WHERE bucket >= %(hour)s)::bigint
"""
_LATER_ROWS = "SELECT count(*) FROM score WHERE event_time > %(at)s"

_CHAMPION = """
    SELECT coalesce(
        (SELECT name FROM model_version WHERE version =
            (SELECT model_version FROM score ORDER BY event_time DESC LIMIT 1)),
        (SELECT name FROM model_version ORDER BY stream_time DESC LIMIT 1)
    )
"""


def versions(
    conn: Connection[Any], name: str, *, limit: int, after: tuple[datetime, str] | None = None
) -> list[VersionInfo]:
    """At most `limit` versions of a model, newest first; `after` is (stream_time, version) of the
    last one of the page before."""
    after_at, after_version = after or (None, None)
    values = {"name": name, "after_at": after_at, "after_version": after_version, "limit": limit}
    with conn.cursor(row_factory=class_row(VersionInfo)) as cursor:
        return cursor.execute(_VERSIONS, values).fetchall()


def models(conn: Connection[Any], *, limit: int, after: str | None = None) -> list[ModelStatus]:
    """At most `limit` models that ran, published a version or were measured, by name; `after` is
    the name of the last one of the page before."""
    rows = conn.execute(_NAMES, {"after": after or "", "limit": limit})
    names = [str(row[0]) for row in rows]
    return [
        ModelStatus(
            name,
            latest=next(iter(versions(conn, name, limit=1)), None),
            metrics=latest_metrics(conn, name),
        )
        for name in names
    ]


def latest_metrics(conn: Connection[Any], name: str) -> dict[str, Point]:
    """The newest finite value of each metric of a model."""
    rows = conn.execute(_LATEST_METRICS, {"name": name})
    return {metric: Point(at, value, examples) for metric, at, value, examples in rows}


def series(conn: Connection[Any], name: str, *, points: int) -> dict[str, Sequence[Point]]:
    """Each metric of a model over event time, oldest first: all its values, or of more than
    `points` the last one of each of as many equal times; the newest is always there."""
    found: dict[str, list[Point]] = {}
    for metric, at, value, examples in conn.execute(_SERIES, {"name": name, "points": points}):
        found.setdefault(metric, []).append(Point(at, value, examples))
    return {metric: tuple(values) for metric, values in found.items()}


def totals(conn: Connection[Any], *, exact_below: int = aggregates.EXACT_BELOW) -> Totals:
    """The totals; the number of scored rows is PostgreSQL's estimate as long as the counts are
    `aggregates.behind`."""
    approximate = aggregates.behind(conn, exact_below=exact_below)
    alerts = {"open": 0, "investigating": 0, "closed": 0}
    alerted = {"review": 0, "decline": 0}
    kept = running.read(conn)
    for (decision, status), count in kept.alerts.items():  # one for every decision but approve
        alerts[status] += count
        alerted[decision] += count
    if approximate:
        decided = {"approve": max(aggregates.estimate(conn) - sum(alerted.values()), 0)} | alerted
    else:
        decided = {"approve": 0, "review": 0, "decline": 0} | dict(
            conn.execute(_DECIDED).fetchall()
        )
    row = conn.execute(_NEWEST).fetchone()
    newest: datetime | None = None if row is None else row[0]
    row = conn.execute(_CHAMPION).fetchone()
    model = None if row is None or row[0] is None else str(row[0])
    return Totals(
        scored=sum(decided.values()),
        approximate=approximate,
        decisions=decided,
        alerts=alerts,
        labels=kept.labels,
        frauds=kept.frauds,
        dead_letters=kept.dead_letters,
        stream_time=newest,
        last_hour=_last(conn, newest, _HOUR, counted=not approximate),
        last_day=_last(conn, newest, _DAY, counted=not approximate),
        model=model,
        metrics={} if model is None else latest_metrics(conn, model),
    )


def _last(conn: Connection[Any], newest: datetime | None, span: timedelta, counted: bool) -> int:
    """How many transactions there are in the span that ends with the newest one."""
    if newest is None:
        return 0
    at = newest - span
    if not counted:
        return _number(conn, _LATER_ROWS, {"at": at})
    minute = at.replace(second=0, microsecond=0) + _MINUTE
    hour = at.replace(minute=0, second=0, microsecond=0) + _HOUR
    return _number(conn, _LATER, {"at": at, "minute": minute, "hour": hour})


def _number(
    conn: Connection[Any], query: LiteralString, values: Mapping[str, object] | None = None
) -> int:
    row = conn.execute(query, values).fetchone()
    return 0 if row is None else int(row[0])

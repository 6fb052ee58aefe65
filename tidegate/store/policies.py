"""Which rows go to TimescaleDB's columnstore and when, and how long rows are kept: its policies.

`apply` makes the database's policies those of the settings. TimescaleDB's own jobs then do the
work, so nothing of Tidegate has to run for it. On PostgreSQL alone, and on the Apache edition of
TimescaleDB, there are no policies; what can be done there is in `tidegate.store.retention`.

The columnstore needs 2.20, whose bloom filters let a row be found by its id without unpacking every
batch of a chunk. On older ones only the retention policies are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, LiteralString, Protocol

from tidegate.store.connection import Conn

# Two that migrate must not make the same policy. The number must never change, as in `lease`.
LOCK = 7_421_907_310_558_203

COLUMNSTORE_SINCE = (2, 20)


class Retention(Protocol):
    """What of the settings is needed here: days, 0 for ever, and for never."""

    @property
    def score_days(self) -> int: ...  # noqa: D102
    @property
    def dead_letter_days(self) -> int: ...  # noqa: D102
    @property
    def model_metric_days(self) -> int: ...  # noqa: D102
    @property
    def audit_days(self) -> int: ...  # noqa: D102
    @property
    def inbox_days(self) -> int: ...  # noqa: D102
    @property
    def count_days(self) -> int: ...  # noqa: D102
    @property
    def event_days(self) -> int: ...  # noqa: D102
    @property
    def compress_after_days(self) -> int: ...  # noqa: D102


class Kind(StrEnum):
    """What the tables stand on."""

    COMMUNITY = "TimescaleDB, community edition"
    APACHE = "TimescaleDB, Apache edition"
    PLAIN = "PostgreSQL without TimescaleDB"


@dataclass(frozen=True, slots=True)
class Table:
    """A table that grows with time. Without an order it never goes to the columnstore."""

    name: LiteralString
    time: LiteralString
    segment_by: LiteralString = ""
    order_by: LiteralString = ""


# score: ordered by time, in no segments. In 30,000 decisions of a day (13,790 cards, 600 terminals,
# random ids) a decision took 780 bytes before and 209 after (189 in bench/columnstore.py, whose
# decisions are another day's); by terminal it was 292, by card 1,066:
# a card pays once or twice a day, and a segment of one row is larger than the row. All rows come
# and are read in order of time, so one batch of a thousand holds what a late row may conflict with
# (0.6 ms a row; 2.7 in segments of a terminal), and bloom filters find the batches of an id, a
# card or a terminal.
#
# dead_letter: never. Its rows are changed when they are replayed, and there the bloom filters err:
# those of a bigint do not know the smallint that psycopg makes of a small number, and a letter that
# is there is not found (timescaledb issue 9579; tried on 2.23). Those of `score` are of text.
#
# audit: never. It is small, and no chunk of it may get where its trigger does not guard each row.
TABLES = (
    Table("score", "event_time", order_by="event_time DESC"),
    Table("dead_letter", "at"),
    Table("model_metric", "at", segment_by="name,metric", order_by="at DESC"),
    Table("audit", "at"),
)

# What is counted by minute and hour; days are few and stay.
COUNTS: tuple[LiteralString, ...] = (
    "decision_minute",
    "decision_hour",
    "terminal_hour",
    "merchant_hour",
)

_NAMES = [table.name for table in TABLES]


@dataclass(frozen=True, slots=True)
class TableStatus:
    """How a table is kept. What is None is not done; sizes are in bytes, with indexes."""

    name: str
    size: int
    chunk_interval: timedelta | None = None
    chunks: int = 0
    compressed_chunks: int = 0
    compressed_after: timedelta | None = None
    kept_for: timedelta | None = None
    failing: tuple[str, ...] = ()  # jobs of its policies whose last run failed


@dataclass(frozen=True, slots=True)
class Status:
    """What the database is, and how each table is kept."""

    kind: Kind
    version: str | None  # TimescaleDB's
    tables: tuple[TableStatus, ...]
    failing: tuple[tuple[str, str], ...] = ()  # of what counts: its name, and the job that failed


_EXTENSION = """
SELECT extversion, current_setting('timescaledb.license', true) FROM pg_extension
WHERE extname = 'timescaledb'
"""

# The extension may have been made after the tables, which then are plain ones.
_HYPERTABLE = """
SELECT FROM timescaledb_information.hypertables
WHERE hypertable_schema = current_schema() AND hypertable_name = 'score'
"""

# The jobs of what counts stand under its name, or under that of its own hypertable.
_COUNTS_OF = """
LEFT JOIN timescaledb_information.continuous_aggregates a
    ON (a.materialization_hypertable_schema, a.materialization_hypertable_name)
        = (j.hypertable_schema, j.hypertable_name)
WHERE coalesce(a.view_schema, j.hypertable_schema) = current_schema()
"""

_JOBS = f"""
SELECT
    coalesce(a.view_name, j.hypertable_name), j.proc_name,
    coalesce(j.config ->> 'compress_after', j.config ->> 'drop_after')::interval
FROM timescaledb_information.jobs j {_COUNTS_OF}
    AND j.proc_name IN ('policy_compression', 'policy_retention')
"""

_COLUMNSTORE = """
SELECT segmentby, orderby FROM timescaledb_information.hypertable_columnstore_settings
WHERE hypertable = %(name)s::regclass
"""

_SIZES = """
SELECT
    hypertable_size(%(name)s::text::regclass), d.time_interval, count(c.chunk_name),
    count(*) FILTER (WHERE c.is_compressed)
FROM timescaledb_information.dimensions d
LEFT JOIN timescaledb_information.chunks c USING (hypertable_schema, hypertable_name)
WHERE hypertable_schema = current_schema() AND hypertable_name = %(name)s::text
    AND d.dimension_number = 1
GROUP BY d.time_interval
"""

_PLAIN_SIZE = "SELECT pg_total_relation_size(%(name)s::regclass)"

_FAILING = f"""
SELECT coalesce(a.view_name, j.hypertable_name), j.proc_name
FROM timescaledb_information.jobs j JOIN timescaledb_information.job_stats s USING (job_id)
{_COUNTS_OF}
    AND s.last_run_status = 'Failed'
ORDER BY 1, 2
"""


def kind(conn: Conn) -> tuple[Kind, str | None]:
    """What the tables stand on, and the version of TimescaleDB where it is that."""
    found = conn.execute(_EXTENSION).fetchone()
    if found is None or conn.execute(_HYPERTABLE).fetchone() is None:
        return Kind.PLAIN, None
    version, license = found
    return (Kind.APACHE if license == "apache" else Kind.COMMUNITY), str(version)


def apply(conn: Conn, retention: Retention) -> list[str]:
    """Makes the policies those of the settings; returns what changed, a line each.

    Nothing on anything but TimescaleDB's community edition. What was compressed already stays so.
    Must run in a transaction, which the caller commits.
    """
    if kind(conn)[0] != Kind.COMMUNITY:
        return []
    conn.execute("SELECT pg_advisory_xact_lock(%(lock)s)", {"lock": LOCK})
    changes = list(_changes(conn, retention))
    for change in changes:
        for statement in change.statements:
            conn.execute(statement, change.values)
    return [change.text for change in changes]


def differences(conn: Conn, retention: Retention) -> list[str]:
    """What `apply` would change, a line each."""
    if kind(conn)[0] != Kind.COMMUNITY:
        return []
    return [change.text for change in _changes(conn, retention)]


def status(conn: Conn) -> Status:
    """How each table is kept in truth, whatever the settings say."""
    found, version = kind(conn)
    if found == Kind.PLAIN:
        return Status(found, version, tuple(_plain(conn, name) for name in _NAMES))
    jobs = _jobs(conn)
    failing = [tuple(row) for row in conn.execute(_FAILING)]
    tables = tuple(_status(conn, name, jobs, failing) for name in _NAMES)
    of_counts = tuple((of, job) for of, job in failing if of not in _NAMES)
    return Status(found, version, tables, of_counts)


def days(table: Table, retention: Retention) -> int:
    """How long the table's rows are to be kept; 0 for ever."""
    return int(getattr(retention, f"{table.name}_days"))


@dataclass(frozen=True, slots=True)
class _Change:
    text: str
    statements: tuple[LiteralString, ...]
    values: dict[str, Any]


_Jobs = dict[tuple[str, str], timedelta]

_Policy = tuple[LiteralString, LiteralString]  # the ways to take it away and to make it

_COMPRESSION: _Policy = (
    "CALL remove_columnstore_policy(%(name)s, if_exists => true)",
    "CALL add_columnstore_policy(%(name)s, after => %(span)s)",
)
_RETENTION: _Policy = (
    "SELECT remove_retention_policy(%(name)s, if_exists => true)",
    "SELECT add_retention_policy(%(name)s, drop_after => %(span)s)",
)


def _changes(conn: Conn, retention: Retention) -> Iterator[_Change]:
    _, version = kind(conn)
    jobs = _jobs(conn)
    able = _number(version) >= COLUMNSTORE_SINCE
    compress = timedelta(retention.compress_after_days) if able else timedelta()
    for table in TABLES:
        if table.order_by and compress:
            yield from _columnstore(conn, table)
        if table.order_by and able:
            now = jobs.get((table.name, "policy_compression"), timedelta())
            yield from _policy(
                table.name, now, compress, "compressed after {}", "never compressed", _COMPRESSION
            )
        now = jobs.get((table.name, "policy_retention"), timedelta())
        wanted = timedelta(days(table, retention))
        yield from _policy(table.name, now, wanted, "kept for {}", "kept for ever", _RETENTION)
    for name in COUNTS:
        now = jobs.get((name, "policy_retention"), timedelta())
        wanted = timedelta(retention.count_days)
        yield from _policy(name, now, wanted, "kept for {}", "kept for ever", _RETENTION)


def _columnstore(conn: Conn, table: Table) -> Iterator[_Change]:
    # Chunks that were compressed otherwise stay as they are.
    found = conn.execute(_COLUMNSTORE, {"name": table.name}).fetchone()
    if found != (table.segment_by, table.order_by):
        alter: LiteralString = (
            "ALTER TABLE " + table.name + " SET (timescaledb.enable_columnstore = true, "
            "timescaledb.segmentby = '" + table.segment_by + "', "
            "timescaledb.orderby = '" + table.order_by + "')"
        )
        how = f"ordered by {table.order_by}"
        if table.segment_by:
            how += f", in segments of {table.segment_by}"
        yield _Change(f"{table.name}: the columnstore is {how}", (alter,), {})


def _policy(
    name: str, now: timedelta, wanted: timedelta, some: str, none: str, policy: _Policy
) -> Iterator[_Change]:
    if now == wanted:
        return

    def said(span: timedelta) -> str:
        return some.format(spelt(span)) if span else none

    remove, add = policy
    yield _Change(
        f"{name}: {said(wanted)}; before: {said(now)}",
        # A policy cannot be given another span.
        (remove, add) if wanted else (remove,),
        {"name": name, "span": wanted},
    )


def spelt(span: timedelta) -> str:
    """A span as people say it: `7 days`."""
    if span % timedelta(days=1):
        return str(span)
    return f"{span.days} day" + ("s" if span.days != 1 else "")


def _jobs(conn: Conn) -> _Jobs:
    return {(name, job): span for name, job, span in conn.execute(_JOBS)}


def _number(version: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in (version or "0").split("-")[0].split(".")[:2])


def _plain(conn: Conn, name: str) -> TableStatus:
    return TableStatus(name, *(conn.execute(_PLAIN_SIZE, {"name": name}).fetchone() or (0,)))


def _status(conn: Conn, name: str, jobs: _Jobs, failing: list[tuple[str, ...]]) -> TableStatus:
    sizes = conn.execute(_SIZES, {"name": name}).fetchone() or (0, None, 0, 0)
    return TableStatus(
        name,
        size=sizes[0],
        chunk_interval=sizes[1],
        chunks=sizes[2],
        compressed_chunks=sizes[3],
        compressed_after=jobs.get((name, "policy_compression")),
        kept_for=jobs.get((name, "policy_retention")),
        failing=tuple(job for of, job in failing if of == name),
    )

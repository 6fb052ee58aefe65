"""A day of decisions before and after it goes to TimescaleDB's columnstore: bytes, and by ids.

Why: nearly all decisions of a year lie there, and what reads single ones by their ids, as learning
from late labels does, must still find them. The rows are the flow's last of a history, when it has
long learned: scores and features of the first days are much alike and compress too well. The few
days that they are of are laid over each other into one. Ids are hashes: those of the simulation are
numbered, and would compress better than real ones.

TimescaleDB runs in WebAssembly, as in the tests: reads take longer than on a server, and
nobody has compared the bytes with one. It needs node, and the packages that `make setup-tests`
fetches.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from time import perf_counter

import psycopg
from psycopg import sql

import migrations
from bench import database
from bench.given import Given
from bench.kafka import Missing
from bench.report import Figure, Report, figure, say
from tests.timescale import pglite
from tidegate.schema import Decisions
from tidegate.settings import Retention
from tidegate.store import connection, decisions, policies, queries, served
from tidegate.store.connection import Conn

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
IDS = 100  # asked for at once
READS = 200  # of each kind
_AT_ONCE = 1_000
_ROWS, _COLUMNS = "in rows", "in the columnstore"

# What one card paid on two days, two cards paid on the one day; names stay as long as they were.
_NAME = "left({0}, 5) || left(md5({0} || event_time::date), length({0}) - 5)"
_AT = "%(begin)s + (event_time - date_trunc('day', event_time))"
VARIED = {
    "transaction_id": "md5(transaction_id)",
    "event_time": _AT,
    "scored_at": f"{_AT} + interval '25 milliseconds'",
    "stream_time": _AT,
    "card_token": _NAME.format("card_token"),
    "customer_id": _NAME.format("customer_id"),
    "details": "CASE WHEN details ? 'device_id' THEN details || jsonb_build_object('device_id', "
    + _NAME.format("(details ->> 'device_id')")
    + ") ELSE details END",
}
READ = sql.SQL("""
SELECT row_to_json(laid)::text FROM (
    SELECT {values} FROM (SELECT * FROM score ORDER BY event_time DESC LIMIT %(rows)s) AS newest
) AS laid
ORDER BY event_time, transaction_id
""")
INSERT = "INSERT INTO score SELECT * FROM json_populate_recordset(NULL::score, %(rows)s::json)"
SPREAD = "SELECT count(DISTINCT card_token), count(DISTINCT terminal_id) FROM score"
SIZES = "SELECT total_bytes, index_bytes FROM chunks_detailed_size('score')"
COMPRESS = "SELECT compress_chunk(show_chunks('score'))"


def bench(given: Given) -> Report:
    """Bytes of a decision, and milliseconds of each read, before and after."""
    if not pglite.installed():
        raise Missing(pglite.NEEDS)
    parts = given.decisions(given.size(200_000, 30_000))
    laid = _laid_over(parts, given.part(30_000, 4_000))
    rows = len(laid)
    say("  storing them in TimescaleDB")
    with pglite.server() as url:
        migrations.upgrade(url)
        with psycopg.connect(url, prepare_threshold=None, autocommit=True) as conn:
            conn.execute("SET TIME ZONE 'UTC'")
            with conn.transaction():
                policies.apply(conn, Retention())
            for start in range(0, rows, _AT_ONCE):
                part = ",".join(laid[start : start + _AT_ONCE])
                conn.execute(INSERT, {"rows": f"[{part}]"})
            ids = [id for (id,) in conn.execute("SELECT transaction_id FROM score")]
            cards, terminals = conn.execute(SPREAD).fetchone() or (0, 0)
            _, version = policies.kind(conn)
            before, indexes = _sizes(conn)
            reads_before = _reads(conn, ids)
            conn.execute(COMPRESS)
            after, _ = _sizes(conn)
            reads_after = _reads(conn, ids)
    whole = f"a decision {_ROWS}, with its indexes"
    figures = [
        figure(whole, [before / rows], "bytes"),
        figure("its indexes", [indexes / rows], "bytes"),
        figure(f"a decision {_COLUMNS}", [after / rows], "bytes", after / before, whole),
    ]
    for name, took in reads_before.items():
        figures += _read_figures(name, took, reads_after[name])
    notes = [
        f"{rows:,} decisions of one day, {cards:,} cards, {terminals:,} terminals, random ids; "
        f"TimescaleDB {version}",
        f"{READS} reads of each kind, one after the other, in WebAssembly: compare them with each "
        "other alone",
    ]
    return Report("columnstore", rows, 1, figures, notes)


def _laid_over(parts: list[Decisions], rows: int) -> list[str]:
    """The last decisions as they are stored, each as JSON, as if all had been made on one day.

    `decisions.write` makes the rows, with its COPY, of which PGlite dies.
    """
    with (
        database.server() as server,
        database.fresh(server) as url,
        connection.connect(url, application_name="tidegate-bench") as conn,
    ):
        decisions.write(conn, parts)
        described = conn.execute("SELECT * FROM score LIMIT 0").description or []
        query = READ.format(
            values=sql.SQL(", ").join(
                sql.SQL("{} AS {}").format(
                    sql.SQL(VARIED[name]) if name in VARIED else sql.Identifier(name),
                    sql.Identifier(name),
                )
                for name in (column.name for column in described)
            )
        )
        return [row for (row,) in conn.execute(query, {"begin": BEGIN, "rows": rows})]


def _sizes(conn: Conn) -> tuple[int, int]:
    """Bytes of the one chunk, and those of its indexes among them."""
    [(total, indexes)] = conn.execute(SIZES).fetchall()
    return total, indexes


def _reads(conn: Conn, ids: list[str]) -> dict[str, list[float]]:
    """Milliseconds of each read of the same random ids."""
    rng = random.Random(7)

    def one() -> int:
        return int(queries.decision(conn, rng.choice(ids)) is not None)

    def many() -> int:
        return len(served.by_ids(conn, rng.sample(ids, IDS), 2**62))

    conn.execute("ANALYZE score")
    return {
        "a decision by its id": _timed(one, 1),
        f"{IDS} decisions by their ids": _timed(many, IDS),
    }


def _timed(read: Callable[[], int], wanted: int) -> list[float]:
    took = []
    for _ in range(READS):
        begin = perf_counter()
        found = read()
        took.append(1000 * (perf_counter() - begin))
        if found != wanted:
            raise AssertionError(f"{found} of {wanted} decisions were found")
    return took


def _read_figures(name: str, before: list[float], after: list[float]) -> list[Figure]:
    slower = median(after) / median(before)
    peer = f"{name}, {_ROWS}"
    return [
        figure(peer, before, "ms"),
        figure(f"{name}, {_COLUMNS}", after, "ms", slower, peer),
    ]

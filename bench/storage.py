"""Reading months of decisions: pages of alerts, a card's and a terminal's history; their bytes.

Why: analysts read while payments are stored, and every list must stay quick as tables grow. The
rows are copies of real decisions, with ids, cards, terminals and times of their own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import numpy as np
from psycopg import Connection, sql

from bench import database
from bench.given import Given
from bench.report import Figure, Report, figure, say
from tidegate.store import aggregates, alerts, connection, decisions, queries, stats, traffic
from tidegate.store.alerts import AlertFilter
from tidegate.store.queries import DecisionFilter
from tidegate.store.traffic import Step

DAYS = 30
CARDS, TERMINALS = 50_000, 10_000
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
Read = Callable[[Connection[Any]], Sequence[object]]
READS = 500  # of each list
_AT_ONCE = 500_000

# As the flow would have stored them: in order of time, ids and entities spread by a hash.
MAKE_SEED = "CREATE TEMPORARY TABLE seed AS SELECT row_number() OVER () - 1 AS number, * FROM score"
COPY_SEED = sql.SQL("""
INSERT INTO score ({columns})
SELECT {values} FROM generate_series(%(from)s::bigint, %(to)s::bigint - 1) AS n
JOIN seed ON seed.number = mod(n, %(seeds)s)
ORDER BY n
""")
VARIED = {
    "transaction_id": "md5(n::text)",
    "event_time": "%(begin)s + n * %(step)s",
    "scored_at": "%(begin)s + n * %(step)s + interval '25 milliseconds'",
    "stream_time": "%(begin)s + n * %(step)s",
    "card_token": "'card-' || mod(hashint8(n)::bigint + 2147483648, %(cards)s)",
    # One in a hundred is flagged.
    "decision": "CASE mod(n, 400) WHEN 7 THEN 'decline' WHEN 8 THEN 'review' WHEN 9 THEN 'review'"
    " WHEN 10 THEN 'review' ELSE 'approve' END",
    "score": "CASE WHEN mod(n, 400) BETWEEN 7 AND 10 THEN .3 + .7 * random() ELSE seed.score END",
    "terminal_id": "'terminal-' || mod(hashint8(n + 1)::bigint + 2147483648, %(terminals)s)",
}
MAKE_ALERTS = """
INSERT INTO alert (alert_id, transaction_id, event_time, card_token, terminal_id, merchant_id,
    amount_minor, currency, score, decision, reasons, model_version, status, created_at)
SELECT gen_random_uuid(), transaction_id, event_time, card_token, terminal_id, merchant_id,
    amount_minor, currency, score, decision, reasons, model_version,
    CASE mod(row_number() OVER (), 10) WHEN 0 THEN 'open' ELSE 'closed' END, scored_at
FROM score WHERE decision <> 'approve'
"""
# One in two hundred has a label, most of them a fraud's.
MAKE_LABELS = """
INSERT INTO label (transaction_id, labelled_at, source, fraud)
SELECT transaction_id, event_time + interval '5 days', 'chargeback', mod(n, 2000) < 1800
FROM (SELECT transaction_id, event_time, row_number() OVER () AS n FROM score) AS numbered
WHERE mod(n, 200) = 0
"""
SIZES = """
SELECT pg_table_size('score'), pg_indexes_size('score'), octet_length(features)
FROM score LIMIT 1
"""


def bench(given: Given) -> Report:
    """Milliseconds of each read, in the middle and of the slowest hundredth."""
    rows = given.size(10_000_000, 300_000)
    parts = given.decisions(given.part(30_000, 8_000))
    with (
        database.server() as server,
        database.fresh(server) as url,
        connection.connect(url, application_name="tidegate-bench") as conn,
    ):
        _fill(conn, parts, rows)
        table, indexes, features = conn.execute(SIZES).fetchone() or (0, 0, 0)
        (raised,) = conn.execute("SELECT count(*) FROM alert").fetchone() or (0,)
        figures = [
            figure("a decision without indexes", [table / rows], "bytes"),
            figure("its indexes", [indexes / rows], "bytes"),
        ]
        conn.commit()
        for name, read in _reads(random.Random(7)).items():
            figures += _timed(conn, name, read)
    notes = [
        f"{rows:,} decisions of {DAYS} days, {raised:,} alerts; features are {features} bytes",
        f"{READS} reads of each kind with random values, one after the other, on a warm cache",
    ]
    return Report("storage", rows, 1, figures, notes)


def _fill(conn: Connection[Any], parts: list[Any], rows: int) -> None:
    decisions.write(conn, parts)
    conn.execute(MAKE_SEED)
    (seeds,) = conn.execute("SELECT count(*) FROM seed").fetchone() or (0,)
    conn.execute("TRUNCATE score, alert, alert_case, alert_event CASCADE")
    described = conn.execute("SELECT * FROM score LIMIT 0").description or []
    names = [column.name for column in described]
    query = COPY_SEED.format(
        columns=sql.SQL(", ").join(map(sql.Identifier, names)),
        values=sql.SQL(", ").join(
            sql.SQL(VARIED[name]) if name in VARIED else sql.Identifier("seed", name)
            for name in names
        ),
    )
    values = {
        "seeds": seeds,
        "begin": BEGIN,
        "step": timedelta(days=DAYS) / rows,
        "cards": CARDS,
        "terminals": TERMINALS,
    }
    for start in range(0, rows, _AT_ONCE):
        conn.execute(query, values | {"from": start, "to": min(rows, start + _AT_ONCE)})
        conn.commit()
        say(f"  {min(rows, start + _AT_ONCE):,} rows are there")
    conn.execute(MAKE_ALERTS)
    conn.execute(MAKE_LABELS)
    conn.commit()
    conn.autocommit = True
    conn.execute("ANALYZE score")
    say("  counting them")
    aggregates.refresh(conn)
    conn.execute("VACUUM (ANALYZE)")
    conn.autocommit = False


def _reads(rng: random.Random) -> dict[str, Read]:
    def moment() -> datetime:
        return BEGIN + timedelta(days=DAYS) * rng.uniform(0.1, 1)

    def alert_page(conn: Connection[Any]) -> Sequence[object]:
        return alerts.page(conn, AlertFilter(until=moment()), limit=51)

    def open_by_score(conn: Connection[Any]) -> Sequence[object]:
        which = AlertFilter(status="open")
        first = alerts.page(conn, which, limit=51, order="score")
        last = first[-1]
        after = last.score, last.alert_id
        return [*first, *alerts.page(conn, which, limit=51, order="score", after=after)]

    def of_card(conn: Connection[Any]) -> Sequence[object]:
        which = DecisionFilter(card_token=f"card-{rng.randrange(CARDS)}")
        return queries.decisions(conn, which, limit=100)

    def of_terminal(conn: Connection[Any]) -> Sequence[object]:
        which = DecisionFilter(terminal_id=f"terminal-{rng.randrange(TERMINALS)}")
        return queries.decisions(conn, which, limit=100)

    span = {"since": BEGIN, "until": BEGIN + timedelta(days=DAYS)}

    def hourly(conn: Connection[Any]) -> Sequence[object]:
        return traffic.decided(conn, Step.HOUR, **span)

    def of_terminal_hourly(conn: Connection[Any]) -> Sequence[object]:
        return traffic.terminal(conn, f"terminal-{rng.randrange(TERMINALS)}", Step.HOUR, **span)

    def totals(conn: Connection[Any]) -> Sequence[object]:
        return [stats.totals(conn)]

    return {
        "totals": totals,
        "all decisions by hour": hourly,
        "a terminal's decisions by hour": of_terminal_hourly,
        "a page of alerts": alert_page,
        "two pages of open alerts by score": open_by_score,
        "a card's last 100 decisions": of_card,
        "a terminal's last 100 decisions": of_terminal,
    }


def _timed(conn: Connection[Any], name: str, read: Read) -> list[Figure]:
    took, found = [], 0
    for _ in range(READS):
        begin = perf_counter()
        found += len(read(conn))
        took.append(1000 * (perf_counter() - begin))
        conn.rollback()
    if not found:
        raise AssertionError(f"{name}: nothing was there to read")
    return [
        figure(f"{name}, in the middle", [float(np.median(took))], "ms"),
        figure(f"{name}, the slowest hundredth", [float(np.quantile(took, 0.99))], "ms"),
    ]

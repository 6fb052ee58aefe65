"""What TimescaleDB is told to do with old rows, and that rows in the columnstore are as any other.

Its jobs do not run by themselves in PGlite: they are run here, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

import migrations
from tidegate.settings import Retention
from tidegate.store import aggregates, policies, queries, retention, served
from tidegate.store.connection import Conn, connect
from tidegate.store.decisions import MAKE_INCOMING, STORE_INCOMING
from tidegate.store.policies import Kind, Status, TableStatus
from tidegate.store.queries import DecisionFilter

NOW = datetime.now(UTC)
OLD = NOW.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=20)
LATER = 2**62  # microseconds
CARDS, TERMINALS = 7, 5


@pytest.fixture
def community(timescale: str) -> Iterator[Conn]:
    migrations.upgrade(timescale)
    with psycopg.connect(timescale, prepare_threshold=None, autocommit=True) as conn:
        conn.execute("SET TIME ZONE 'UTC'")
        yield conn


def incoming(
    conn: Conn, ids: range, *, start: datetime, score: float = 0.5, decision: str = "approve"
) -> int:
    """Stores decisions a minute apart as the sink does, but for COPY; returns how many were new."""
    with conn.transaction():
        conn.execute(MAKE_INCOMING)
        conn.execute(
            """
            INSERT INTO incoming (
                transaction_id, event_time, card_token, terminal_id, amount_minor, currency, score,
                log_odds, decision, model_version, policy_version, features, reasons, scored_at,
                stream_time, details, alert_id
            )
            SELECT
                't-' || n, %(start)s + n * interval '1 minute', 'card-' || n %% %(cards)s,
                'terminal-' || n %% %(terminals)s, n, 'EUR', %(score)s, n, %(decision)s, 'm1', 'p1',
                decode(repeat('0000803f', 35), 'hex'), '[]', now(), %(start)s, '{"mcc": "5999"}',
                CASE WHEN %(decision)s <> 'approve' THEN gen_random_uuid() END
            FROM unnest(%(ids)s::int[]) n
            """,
            {
                **{"start": start, "score": score, "decision": decision, "ids": list(ids)},
                **{"cards": CARDS, "terminals": TERMINALS},
            },
        )
        (new,) = conn.execute(STORE_INCOMING).fetchone() or (0,)
    return int(new)


def run_job(conn: Conn, proc: str, table: str) -> None:
    query = """
        SELECT job_id FROM timescaledb_information.jobs
        WHERE proc_name = %s AND hypertable_name = %s  -- an aggregate's stands under its own name
    """
    ((job,),) = conn.execute(query, (proc, table)).fetchall()
    conn.execute("CALL run_job(%s)", (job,))


# PGlite runs no jobs by itself, so none fails: this is what TimescaleDB would note.
FAILED = """
INSERT INTO _timescaledb_internal.bgw_job_stat
SELECT j.id, now(), now(), now(), '-infinity', false, 1, '0', '0', 0, 1, 0, 1, 0, 0
FROM _timescaledb_config.bgw_job j JOIN _timescaledb_catalog.hypertable h ON h.id = j.hypertable_id
WHERE h.table_name = %(name)s AND j.proc_name = %(job)s
"""


def hypertable_of(conn: Conn, aggregate: str) -> str:
    """The table in which TimescaleDB keeps what it counted."""
    query = """
        SELECT materialization_hypertable_name FROM timescaledb_information.continuous_aggregates
        WHERE view_name = %s
    """
    ((name,),) = conn.execute(query, (aggregate,)).fetchall()
    return str(name)


def of(status: Status, name: str) -> TableStatus:
    (found,) = (table for table in status.tables if table.name == name)
    return found


def apply(conn: Conn, wanted: Retention) -> list[str]:
    with conn.transaction():
        return policies.apply(conn, wanted)


def compressed(conn: Conn) -> None:
    """All decisions so far are in the columnstore."""
    apply(conn, Retention())
    run_job(conn, "policy_compression", "score")
    score = of(policies.status(conn), "score")
    assert score.chunks == score.compressed_chunks > 0


def test_policies_appear_and_are_made_once(community: Conn) -> None:
    assert policies.differences(community, Retention()) == [
        "score: the columnstore is ordered by event_time DESC",
        "score: compressed after 14 days; before: never compressed",
        "score: kept for 400 days; before: kept for ever",
        "dead_letter: kept for 90 days; before: kept for ever",
        "model_metric: the columnstore is ordered by at DESC, in segments of name,metric",
        "model_metric: compressed after 14 days; before: never compressed",
        "model_metric: kept for 400 days; before: kept for ever",
        *(f"{name}: kept for 400 days; before: kept for ever" for name in policies.COUNTS),
    ]
    assert len(apply(community, Retention())) == 11
    assert apply(community, Retention()) == policies.differences(community, Retention()) == []


def test_policies_follow_the_settings_and_disappear(community: Conn) -> None:
    apply(community, Retention())
    changed = Retention(score_days=30, dead_letter_days=0, audit_days=365, compress_after_days=9)
    assert apply(community, changed) == [
        "score: compressed after 9 days; before: compressed after 14 days",
        "score: kept for 30 days; before: kept for 400 days",
        "dead_letter: kept for ever; before: kept for 90 days",
        "model_metric: compressed after 9 days; before: compressed after 14 days",
        "audit: kept for 365 days; before: kept for ever",
    ]
    status = policies.status(community)
    assert status.kind == Kind.COMMUNITY
    score = of(status, "score")
    assert (score.compressed_after, score.kept_for) == (timedelta(9), timedelta(30))
    assert score.chunk_interval == timedelta(1)
    audit = of(status, "audit")
    assert (audit.compressed_after, audit.kept_for) == (None, timedelta(365))
    never = Retention(0, 0, 0, 0, 0, compress_after_days=0)
    assert len(apply(community, never)) == 9
    for table in policies.status(community).tables:
        assert (table.compressed_after, table.kept_for) == (None, None)
    assert apply(community, never) == []


def test_the_retention_job_drops_old_chunks_and_only_those(community: Conn) -> None:
    # A chunk goes when all of its day is past: the first rows' day is, at any time of today.
    for first, days in ((3300, 32), (2900, 29), (0, 0)):
        start = NOW - timedelta(days=days, minutes=first)
        incoming(community, range(first, first + 3), start=start)
    apply(community, Retention(score_days=30))
    run_job(community, "policy_retention", "score")
    kept = community.execute("SELECT transaction_id FROM score ORDER BY amount_minor").fetchall()
    assert [id for (id,) in kept] == [f"t-{n}" for n in (0, 1, 2, 2900, 2901, 2902)]


def test_counts_by_hour_go_and_those_by_day_stay(community: Conn) -> None:
    for days in (50, 3):  # its chunks are of ten days
        incoming(community, range(days * 100, days * 100 + 3), start=NOW - timedelta(days=days))
    aggregates.refresh(community)
    apply(community, Retention(score_days=0, count_days=30))
    for name in ("decision_minute", "decision_hour", "terminal_hour"):
        run_job(community, "policy_retention", name)
        counted = f"SELECT sum(decisions)::int FROM {name} WHERE bucket < now() - interval '9 days'"
        assert community.execute(counted).fetchone() == (None,), name
    for name in ("decision_day", "terminal_day"):
        assert community.execute(f"SELECT sum(decisions)::int FROM {name}").fetchone() == (6,)


def test_a_job_that_failed_is_told_with_what_it_counts(community: Conn) -> None:
    apply(community, Retention())
    assert policies.status(community).failing == ()
    for name, job in (
        ("score", "policy_retention"),
        (hypertable_of(community, "decision_hour"), "policy_refresh_continuous_aggregate"),
    ):
        community.execute(FAILED, {"name": name, "job": job})
    status = policies.status(community)
    assert of(status, "score").failing == ("policy_retention",)
    assert status.failing == (("decision_hour", "policy_refresh_continuous_aggregate"),)


def test_an_alert_outlives_its_decision(community: Conn) -> None:
    incoming(community, range(3), start=NOW - timedelta(days=40), decision="review")
    apply(community, Retention(score_days=30))
    run_job(community, "policy_retention", "score")
    assert community.execute("SELECT count(*) FROM score").fetchone() == (0,)
    assert community.execute("SELECT count(*) FROM alert").fetchone() == (3,)


def test_the_audit_is_dropped_by_its_policy_and_by_nobody_else(community: Conn) -> None:
    for years in (2, 0):
        community.execute(
            "INSERT INTO audit (at, actor, action, subject) VALUES (%s, 'ann', 'close', 'a')",
            (NOW - timedelta(days=365 * years),),
        )
    apply(community, Retention(audit_days=400))
    with pytest.raises(psycopg.Error, match="append-only"):
        community.execute("DELETE FROM audit WHERE at < now() - interval '1 year'")
    run_job(community, "policy_retention", "audit")
    assert community.execute("SELECT count(*) FROM audit").fetchone() == (1,)


def test_the_compression_job_compresses_what_is_old(community: Conn) -> None:
    incoming(community, range(1000), start=OLD)
    incoming(community, range(1000, 1010), start=OLD + timedelta(days=19))
    before = of(policies.status(community), "score")
    apply(community, Retention())
    run_job(community, "policy_compression", "score")
    after = of(policies.status(community), "score")
    assert (before.compressed_chunks, after.compressed_chunks) == (0, 1)
    assert after.chunks == before.chunks == 2
    assert after.size < before.size
    assert community.execute("SELECT count(*) FROM score").fetchone() == (1010,)


def test_a_late_row_in_a_compressed_chunk_is_stored_once_and_the_first_stands(
    community: Conn,
) -> None:
    assert incoming(community, range(0, 1000, 2), start=OLD) == 500
    compressed(community)
    # Late ones among them, and all of the first once more with another score.
    assert incoming(community, range(100), start=OLD, score=0.9, decision="review") == 50
    assert incoming(community, range(100), start=OLD, score=0.1) == 0
    rows = community.execute(
        "SELECT transaction_id, score FROM score WHERE amount_minor < 100 ORDER BY amount_minor"
    ).fetchall()
    assert rows == [(f"t-{n}", 0.9 if n % 2 else 0.5) for n in range(100)]
    alerts = community.execute("SELECT transaction_id FROM alert ORDER BY amount_minor").fetchall()
    assert [id for (id,) in alerts] == [f"t-{n}" for n in range(1, 100, 2)]
    run_job(community, "policy_compression", "score")  # takes the late ones in
    again = community.execute("SELECT count(*), count(DISTINCT transaction_id) FROM score")
    assert again.fetchone() == (550, 550)
    assert incoming(community, range(100), start=OLD, score=0.1) == 0


def test_reads_from_compressed_chunks_give_the_same_rows(community: Conn) -> None:
    for day in range(3):
        incoming(community, range(day * 1000, day * 1000 + 700), start=OLD - timedelta(days=day))

    def read() -> list[object]:
        pages = [
            queries.decisions(community, which, limit=100)
            for which in (
                DecisionFilter(card_token="card-3"),
                DecisionFilter(terminal_id="terminal-2"),
                DecisionFilter(since=OLD, until=OLD + timedelta(hours=3)),
                DecisionFilter(),
            )
        ]
        (last,) = pages[0][-1:]
        after = (last.event_time, last.transaction_id)
        more = queries.decisions(
            community, DecisionFilter(card_token="card-3"), limit=100, after=after
        )
        assert [len(page) for page in (*pages, more)] == [100] * 5
        found = served.by_ids(community, ["t-5", "t-1699", "t-2001", "none"], LATER)
        assert len(found.transaction_id) == 3
        return [
            *(*pages, more),
            *(queries.decision(community, id) for id in ("t-5", "t-1699", "none")),
            *(found.transaction_id.tolist(), found.features.tobytes(), found.log_odds.tolist()),
        ]

    before = read()
    compressed(community)
    assert read() == before


def test_dead_letters_and_the_audit_never_go_to_the_columnstore(community: Conn) -> None:
    apply(community, Retention(audit_days=365))
    tables = policies.status(community).tables
    assert {table.name: table.compressed_after for table in tables} == {
        "score": timedelta(14),
        "dead_letter": None,
        "model_metric": timedelta(14),
        "audit": None,
    }


def test_the_apache_edition_drops_chunks_by_hand_the_audits_too(community: Conn) -> None:
    # The statement alone: what PGlite runs is the community edition, where policies do it.
    incoming(community, range(3), start=OLD)
    incoming(community, range(3, 6), start=NOW)
    community.execute(
        "INSERT INTO audit (at, actor, action, subject) VALUES (%s, 'ann', 'close', 'a')",
        (NOW - timedelta(days=99),),
    )
    for table in ("score", "audit"):
        values = {"name": table, "before": NOW - timedelta(days=10)}
        assert len(community.execute(retention.DROP, values).fetchall()) == 1
    assert community.execute("SELECT count(*) FROM score").fetchone() == (3,)
    assert community.execute("SELECT count(*) FROM audit").fetchone() == (0,)
    assert list(retention.enforce(community, Retention(score_days=15), NOW)) == []


def test_plain_postgresql_has_nothing_to_apply(database: str) -> None:
    with connect(database, application_name="tidegate-test") as conn:
        status = policies.status(conn)
        if status.kind != Kind.PLAIN:
            pytest.skip("the given server has TimescaleDB")
        assert policies.apply(conn, Retention(audit_days=90)) == []
        assert policies.differences(conn, Retention(audit_days=90)) == []
        assert [table.name for table in status.tables] == [
            *("score", "dead_letter", "model_metric", "audit")
        ]
        assert all(table.size > 0 for table in status.tables)

"""The migration of the aggregates on both kinds of database: up, down, up again."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

import migrations
from tests.api.rows import put_score
from tidegate.store import aggregates
from tidegate.store.traffic import LATENCY_EDGES, SCORE_EDGES

BELOW = [f"score_below_{edge}" for edge in SCORE_EDGES]
BELOW += [f"latency_below_{edge}" for edge in LATENCY_EDGES]
ENTITY = ["currency", "decisions", "not_approved", "amount_minor"]
COLUMNS = {
    "decision": ["bucket", "currency", "decision", "decisions", "amount_minor", *BELOW],
    "terminal": ["bucket", "terminal_id", *ENTITY],
    "merchant": ["bucket", "merchant_id", *ENTITY],
}


def columns(url: str) -> dict[str, dict[str, str]]:
    """The columns of every aggregate that is there, in order, with their types."""
    query = """
        SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
        WHERE attrelid = to_regclass(%s) AND attnum > 0 ORDER BY attnum
    """
    with psycopg.connect(url, prepare_threshold=None) as conn:
        found: dict[str, dict[str, str]] = {
            name: dict(conn.execute(query, (name,)).fetchall()) for name in aggregates.AGGREGATES
        }
    return {name: there for name, there in found.items() if there}


def left_over(url: str) -> list[str]:
    """What the migration made and is still there."""
    query = """
        SELECT relname FROM pg_class
        WHERE relname ~ '^(aggregate_|stale_|(decision|terminal|merchant)_(minute|hour|day))'
        UNION ALL SELECT proname FROM pg_proc WHERE proname IN ('mark_stale', 'refresh_kept')
        UNION ALL SELECT tgname FROM pg_trigger WHERE tgname = 'score_marks_stale'
    """
    with psycopg.connect(url, prepare_threshold=None) as conn:
        return [str(name) for (name,) in conn.execute(query)]


def check_up_down_up(url: str) -> None:
    for _ in range(2):
        migrations.upgrade(url, "0003")
        found = columns(url)
        assert set(found) == set(aggregates.AGGREGATES)
        for name, there in found.items():
            assert list(there) == COLUMNS[name.split("_")[0]]
            assert there["decisions"] == "bigint"
            assert there["amount_minor"] == "numeric"
        migrations.downgrade(url, "0002")
        assert left_over(url) == []


def test_aggregates_go_down_and_up_again(empty_database: str) -> None:
    check_up_down_up(empty_database)


def test_continuous_aggregates_have_the_same_columns_and_go_down_and_up(timescale: str) -> None:
    check_up_down_up(timescale)


def test_what_was_written_before_the_migration_is_counted(empty_database: str) -> None:
    migrations.upgrade(empty_database, "0002")
    with psycopg.connect(empty_database) as conn:
        for n, seconds in enumerate((0, 59, 60, 4000, 900_000)):
            put_score(conn, f"t-{n}", seconds)
    migrations.upgrade(empty_database, "0003")
    with psycopg.connect(empty_database) as conn:
        assert conn.execute("SELECT count(*) FROM stale_mark").fetchone() == (4,)
        rows = conn.execute("SELECT decisions FROM decision_minute ORDER BY bucket").fetchall()
        assert rows == [(2,), (1,), (1,), (1,)]


def test_a_refresh_outside_of_repeatable_read_is_refused(database: str) -> None:
    with psycopg.connect(database) as conn:
        if aggregates.kind(conn) is aggregates.Kind.CONTINUOUS:
            pytest.skip("there is nothing to refuse with continuous aggregates")
        with pytest.raises(psycopg.errors.InvalidTransactionState, match="REPEATABLE READ"):
            conn.execute("SELECT refresh_kept()")


def test_every_continuous_aggregate_is_real_time_and_its_policy_runs(timescale: str) -> None:
    migrations.upgrade(timescale, "0003")
    with psycopg.connect(timescale, autocommit=True, prepare_threshold=None) as conn:
        assert aggregates.kind(conn) is aggregates.Kind.CONTINUOUS
        views = """
            SELECT view_name, materialized_only
            FROM timescaledb_information.continuous_aggregates
        """
        assert dict(conn.execute(views)) == dict.fromkeys(aggregates.AGGREGATES, False)
        jobs = """
            SELECT view_name, job_id, config->>'start_offset'
            FROM timescaledb_information.jobs AS j
            JOIN timescaledb_information.continuous_aggregates AS c
            ON j.hypertable_name IN (c.view_name, c.materialization_hypertable_name)
            WHERE j.proc_name = 'policy_refresh_continuous_aggregate'
        """
        found = {name: (job, start) for name, job, start in conn.execute(jobs)}
        assert set(found) == set(aggregates.AGGREGATES)
        assert {start for _, start in found.values()} == {"30 days"}
        old = datetime.now(UTC) - timedelta(days=5)
        put_score(conn, "t-1", 0, event_time=old, scored_at=old, merchant_id="m-1")
        for name in aggregates.AGGREGATES:
            conn.execute("CALL run_job(%s)", (found[name][0],))
            conn.execute(f"ALTER MATERIALIZED VIEW {name} SET (timescaledb.materialized_only)")
            count = conn.execute(f"SELECT sum(decisions) FROM {name}")
            assert count.fetchone() == (1,), name


def test_the_plain_way_works_on_hypertables_too_as_the_apache_edition_needs(timescale: str) -> None:
    migrations.upgrade(timescale, "0002")
    version = importlib.import_module("migrations.versions.0003_aggregates")
    with psycopg.connect(timescale, autocommit=True, prepare_threshold=None) as conn:
        put_score(conn, "before", -5)
        for statement in (*version.FLOOR, *version.MARKS, *version._views(), version._refresh()):
            conn.execute(statement)
        conn.execute("UPDATE alembic_version SET version_num = '0003'")
        assert aggregates.kind(conn) is aggregates.Kind.KEPT
        for n, seconds in enumerate((0, 1, 100, 100_000)):
            put_score(conn, f"t-{n}", seconds, merchant_id="m-1")
        conn.execute("INSERT INTO score SELECT * FROM score ON CONFLICT DO NOTHING")
        for marks in (5, 0):
            assert conn.execute("SELECT count(*) FROM stale_mark").fetchone() == (marks,)
            for name, count in (("decision_minute", 5), ("terminal_day", 5), ("merchant_day", 4)):
                assert conn.execute(f"SELECT sum(decisions) FROM {name}").fetchone() == (count,)
            aggregates.refresh(conn)
    migrations.downgrade(timescale, "0002")
    assert left_over(timescale) == []

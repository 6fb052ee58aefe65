"""The same migrations where TimescaleDB is at hand."""

from __future__ import annotations

import psycopg
import pytest

import migrations
from tests import databases
from tests.api.rows import put_alert
from tests.migrations import test_upgrade
from tidegate.store import alert_events
from tidegate.store.alert_events import Position

HYPERTABLES = {"score", "dead_letter", "model_metric", "audit"}


def hypertables(url: str) -> set[str]:
    with psycopg.connect(url, prepare_threshold=None) as conn:
        rows = conn.execute("SELECT hypertable_name FROM timescaledb_information.hypertables")
        return {str(name) for (name,) in rows}


def test_tables_that_grow_with_time_become_hypertables(timescale: str) -> None:
    migrations.upgrade(timescale)
    assert hypertables(timescale) == HYPERTABLES
    assert migrations.current(timescale) == migrations.head()


def test_hypertables_go_down_and_up_again(timescale: str) -> None:
    migrations.upgrade(timescale)
    migrations.downgrade(timescale)
    assert hypertables(timescale) == set()
    migrations.upgrade(timescale)
    assert hypertables(timescale) == HYPERTABLES


def test_alerts_have_their_events_there_too(timescale: str) -> None:
    migrations.upgrade(timescale)
    with psycopg.connect(timescale, autocommit=True, prepare_threshold=None) as conn:
        alert_id = put_alert(conn, 1)
        conn.execute("UPDATE alert SET version = 2")
        events = alert_events.after(conn, Position(0, 0), limit=10)
        assert [event.kind for event in events] == ["alert.created", "alert.changed"]
        assert {event.alert.alert_id for event in events if event.alert} == {alert_id}


def test_the_audit_is_append_only_as_a_hypertable_too(timescale: str) -> None:
    migrations.upgrade(timescale)
    with psycopg.connect(timescale, autocommit=True, prepare_threshold=None) as conn:
        conn.execute("INSERT INTO audit (actor, action, subject) VALUES ('ann', 'close', 'a1')")
        for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
            with pytest.raises(psycopg.Error, match="append-only"):
                conn.execute(statement)
        assert conn.execute("SELECT count(*) FROM audit").fetchone() == (1,)


COLUMNSTORE = (
    """
    ALTER TABLE score SET (
        timescaledb.enable_columnstore = true, timescaledb.orderby = 'event_time DESC'
    )
    """,
    """
    ALTER TABLE model_metric SET (
        timescaledb.enable_columnstore = true, timescaledb.segmentby = 'name,metric',
        timescaledb.orderby = 'at DESC'
    )
    """,
    "CALL add_columnstore_policy('score', after => INTERVAL '7 days')",
    "SELECT add_retention_policy('score', INTERVAL '400 days')",
)
CHUNKS = """
SELECT format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks
WHERE hypertable_name IN ('score', 'model_metric')
"""
COMPRESSED = """
SELECT count(*) FROM timescaledb_information.chunks
WHERE hypertable_name = 'score' AND is_compressed
"""
POLICIES = """
SELECT proc_name FROM timescaledb_information.jobs
WHERE hypertable_name = 'score' AND proc_name IN ('policy_compression', 'policy_retention')
ORDER BY proc_name
"""


@pytest.mark.parametrize("version", ["0001", "0003", "0006", "0011"])
def test_compressed_chunks_and_policies_of_an_older_version_are_kept_up_and_down(
    timescale: str, version: str
) -> None:
    migrations.upgrade(timescale, version)
    with psycopg.connect(timescale, autocommit=True, prepare_threshold=None) as conn:
        test_upgrade.fill(conn, rows=60)
        for statement in COLUMNSTORE:
            conn.execute(statement)
        for (chunk,) in conn.execute(CHUNKS).fetchall():
            conn.execute("CALL convert_to_columnstore(%s::regclass)", (chunk,))
        compressed = conn.execute(COMPRESSED).fetchone()
        assert compressed is not None
        assert compressed[0] >= 3
    before = test_upgrade.contents(timescale)
    for move, to in ((migrations.upgrade, "head"), (migrations.downgrade, version)):
        move(timescale, to)
        assert test_upgrade.contents(timescale) == before
        with psycopg.connect(timescale, autocommit=True, prepare_threshold=None) as conn:
            assert conn.execute(COMPRESSED).fetchone() == compressed
            assert [name for (name,) in conn.execute(POLICIES)] == [
                *("policy_compression", "policy_retention"),
            ]


def test_a_filled_hypertable_of_the_first_version_keeps_its_rows_without_the_columnstore(
    timescale_server: str,
) -> None:
    with databases.fresh(timescale_server, None) as url:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        migrations.upgrade(url, "0001")
        with psycopg.connect(url) as conn:
            test_upgrade.fill(conn)
        before = test_upgrade.contents(url)
        migrations.upgrade(url)
        assert test_upgrade.contents(url) == before
        migrations.downgrade(url, "0001")
        assert test_upgrade.contents(url) == before

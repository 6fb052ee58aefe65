"""The same migrations where TimescaleDB is at hand."""

from __future__ import annotations

import psycopg
import pytest

import migrations
from tests.api.rows import put_alert
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

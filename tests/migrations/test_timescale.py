"""The same migrations where TimescaleDB is at hand."""

from __future__ import annotations

import psycopg
import pytest

import migrations

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


def test_the_audit_is_append_only_as_a_hypertable_too(timescale: str) -> None:
    migrations.upgrade(timescale)
    with psycopg.connect(timescale, autocommit=True, prepare_threshold=None) as conn:
        conn.execute("INSERT INTO audit (actor, action, subject) VALUES ('ann', 'close', 'a1')")
        for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
            with pytest.raises(psycopg.Error, match="append-only"):
                conn.execute(statement)
        assert conn.execute("SELECT count(*) FROM audit").fetchone() == (1,)

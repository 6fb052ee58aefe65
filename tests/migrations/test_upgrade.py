"""The migrations on a real server: up, down, up again, alone and in company."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.exc import OperationalError

import migrations
from tests import databases
from tests.api.rows import (
    put_alert,
    put_dead_letter,
    put_label,
    put_metric,
    put_score,
    put_version,
)

KEPT = {  # by who counts decisions without TimescaleDB
    "decision_day_kept",
    "decision_hour_kept",
    "decision_minute_kept",
    "merchant_day_kept",
    "merchant_hour_kept",
    "stale_mark",
    "terminal_day_kept",
    "terminal_hour_kept",
}
TABLES = KEPT | {
    "schema_support",
    "total",
    "aggregate_floor",
    "alert",
    "alert_case",
    "alert_comment",
    "alert_event",
    "alert_event_position",
    "alert_text",
    "api_key",
    "audit",
    "cluster",
    "crew_member",
    "crew_order",
    "dead_letter",
    "idempotency_key",
    "inbox",
    "inbox_read",
    "label",
    "list_entry",
    "model",
    "model_metric",
    "model_version",
    "page_session",
    "policy_version",
    "promotion",
    "rule",
    "score",
    "sink_progress",
    "source_progress",
    "webhook",
    "webhook_delivery",
}


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as conn:
        rows = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {str(name) for (name,) in rows} - {"alembic_version"}


def test_an_empty_database_is_at_no_revision(empty_database: str) -> None:
    assert migrations.current(empty_database) is None


def test_a_database_that_cannot_hold_every_text_is_refused(postgres: str) -> None:
    name = sql.Identifier(made := f"ascii_{uuid4().hex}")
    with psycopg.connect(postgres, autocommit=True) as conn:
        options = sql.SQL("TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
        conn.execute(sql.SQL("CREATE DATABASE {} {}").format(name, options))
        try:
            with pytest.raises(OperationalError, match="encoding SQL_ASCII, UTF8 is needed"):
                migrations.upgrade(databases.at(postgres, made))
        finally:
            conn.execute(sql.SQL("DROP DATABASE {}").format(name))


def test_the_schema_goes_up_down_and_up_again(empty_database: str) -> None:
    migrations.upgrade(empty_database)
    assert tables(empty_database) == TABLES
    assert migrations.current(empty_database) == migrations.head()
    migrations.downgrade(empty_database)
    assert tables(empty_database) == set()
    assert migrations.current(empty_database) is None
    migrations.upgrade(empty_database)
    assert tables(empty_database) == TABLES


def test_a_second_upgrade_changes_nothing(database: str) -> None:
    migrations.upgrade(database)
    assert migrations.current(database) == migrations.head()


def test_starters_that_migrate_at_once_do_not_collide(empty_database: str) -> None:
    with ThreadPoolExecutor(4) as starters:
        list(starters.map(migrations.upgrade, [empty_database] * 4))
    assert tables(empty_database) == TABLES


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "TRUNCATE audit",
    ],
)
def test_the_audit_takes_rows_and_gives_none_back(database: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("INSERT INTO audit (actor, action, subject) VALUES ('ann', 'close', 'a1')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            conn.execute(statement)
        assert conn.execute("SELECT count(*) FROM audit").fetchone() == (1,)


def fill(conn: psycopg.Connection, rows: int = 200) -> None:
    """Rows of the first version's tables, an hour apart."""
    for n in range(rows):
        decision = "review" if n % 9 == 0 else "approve"
        put_score(conn, f"t{n}", 3600 * n, decision=decision)
        put_dead_letter(conn, n)
        put_metric(conn, "average_precision", n, n / 200)
        if decision == "review":
            put_alert(conn, 3600 * n, transaction_id=f"t{n}")
            put_label(conn, f"t{n}", 3600 * n + 1)
    put_version(conn, "v1", 0)
    for statement in OTHER_ROWS:
        conn.execute(statement)


# Of tables that are not written through `tests.api.rows`.
OTHER_ROWS = (
    """
    INSERT INTO rule (rule_id, name, expression, action, created_by)
    VALUES (gen_random_uuid(), 'large', 'amount_minor > 100000', 'review', 'ann')
    """,
    "INSERT INTO list_entry (list_name, entry, created_by) VALUES ('cards', 'card-1', 'ann')",
    "INSERT INTO audit (actor, action, subject) VALUES ('ann', 'alert.change', 'a1')",
    "INSERT INTO cluster (generation) VALUES (3)",
    "INSERT INTO sink_progress (partition, generation, sequence) VALUES ('p0', 3, 7)",
)


def test_a_filled_database_of_the_first_version_keeps_its_rows_up_and_down(
    empty_database: str,
) -> None:
    migrations.upgrade(empty_database, "0001")
    with psycopg.connect(empty_database) as conn:
        fill(conn)
    before = contents(empty_database)
    migrations.upgrade(empty_database)
    assert contents(empty_database) == before
    migrations.downgrade(empty_database, "0001")
    assert contents(empty_database) == before


LATER_COLUMNS = ["used_until", "propensity"]
LATER_COLUMNS += ["assignee", "snoozed_until", "outcome", "version", "changed_at"]
LATER_COLUMNS += ["case_id"]


def contents(url: str) -> dict[str, list[tuple[str]]]:
    """Every row of the first version's tables, as text, without the columns that came later."""
    filled = ["score", "alert", "label", "dead_letter", "model_version", "model_metric"]
    filled += ["rule", "list_entry", "audit", "cluster", "sink_progress"]
    with psycopg.connect(url, prepare_threshold=None) as conn:
        return {
            name: conn.execute(
                sql.SQL("SELECT (to_jsonb(t) - %s::text[])::text FROM {} AS t ORDER BY 1").format(
                    sql.Identifier(name)
                ),
                (LATER_COLUMNS,),
            ).fetchall()
            for name in filled
        }

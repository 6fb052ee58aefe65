"""Every statement of the store is understood by every kind of database, and those of older releases
by the newest schema."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

import migrations
from tests.tidegate.store.statements import numbered, statements
from tidegate.store import decisions, policies, release
from tidegate.store.connection import Conn
from tidegate.store.policies import Kind

RELEASES = Path(__file__).parents[2] / "migrations/releases"


@pytest.fixture
def conn(everywhere: Conn) -> Conn:
    return everywhere


def refused(conn: Conn, of: dict[str, str]) -> dict[str, str]:
    """What the database does not understand, and why: names, columns and types are looked up."""
    conn.commit()
    conn.autocommit = True
    conn.execute(decisions.MAKE_INCOMING)
    wrong = {}
    for name, statement in of.items():
        try:
            conn.execute(f"PREPARE asked AS {numbered(statement)}".encode())
            conn.execute("DEALLOCATE asked")
        except psycopg.Error as error:
            wrong[name] = str(error).splitlines()[0]
    return wrong


# Parts of other statements.
PARTS = {"similar._NEAR", "stats._METRICS"}
# Asked only where TimescaleDB is, or where it does not count.
OF_TIMESCALE = {
    "aggregates._SINCE",
    "policies._COLUMNSTORE",
    "policies._FAILING",
    "policies._HYPERTABLE",
    "policies._JOBS",
    "policies._SIZES",
    "retention.DROP",
}
OF_KEPT = {"aggregates._REFRESH_KEPT", "aggregates._STALE_HOURS"}


def asked(conn: Conn, of: dict[str, str]) -> dict[str, str]:
    """Those that a database of this kind is asked."""
    kind, _ = policies.kind(conn)
    not_here = PARTS | (OF_TIMESCALE if kind is Kind.PLAIN else set())
    not_here |= OF_KEPT if kind is Kind.COMMUNITY else set()
    return {name: statement for name, statement in of.items() if name not in not_here}


def test_every_statement_is_understood(conn: Conn) -> None:
    every = statements()
    assert len(every) > 170
    assert every.keys() >= PARTS | OF_TIMESCALE | OF_KEPT
    assert refused(conn, asked(conn, every)) == {}


def test_statements_of_releases_that_still_work_are_understood(conn: Conn) -> None:
    found = release.schema(conn)
    assert found.works_from is not None
    older = [name for name in sorted(migrations.known()) if found.works_from <= name]
    older.remove(migrations.head())
    for name in older:
        kept = RELEASES / f"{name}.json"
        assert kept.exists(), f"write it with tests.tidegate.store.statements of release {name}"
        of = json.loads(kept.read_text())
        assert refused(conn, asked(conn, of)) == {}, f"migrations since {name} are no expansion"


COLUMNS = """
SELECT table_name, column_name, is_nullable = 'YES' OR column_default IS NOT NULL
    OR is_identity = 'YES' OR is_generated = 'ALWAYS'
FROM information_schema.columns WHERE table_schema = current_schema()
"""


def test_new_columns_may_be_left_out_by_releases_that_do_not_know_them(
    empty_database: str,
) -> None:
    migrations.upgrade(empty_database)
    with psycopg.connect(empty_database) as conn:
        works_from = release.schema(conn).works_from
        now = conn.execute(COLUMNS).fetchall()
    assert works_from is not None
    migrations.downgrade(empty_database, works_from)
    with psycopg.connect(empty_database) as conn:
        before = {(table, column) for table, column, _ in conn.execute(COLUMNS)}
    tables = {table for table, _ in before}
    wanted = [
        f"{table}.{column}"
        for table, column, optional in now
        if table in tables and (table, column) not in before and not optional
    ]
    assert wanted == []

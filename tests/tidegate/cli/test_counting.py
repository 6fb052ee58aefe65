"""The counts of an embedded database, kept up to date beside a command."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import pytest

from tests.api.rows import put_score
from tests.waiting import wait_until
from tidegate.cli.counting import counted
from tidegate.store import aggregates
from tidegate.store.aggregates import Kind


def test_what_is_written_meanwhile_is_counted(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        if aggregates.kind(conn) is not Kind.KEPT:
            pytest.skip("the given server counts by itself")
        with counted(database, every=0.02):
            for number in range(3):
                put_score(conn, f"t{number}", 3600 * number)
                wait_until(all_kept(conn, number + 1))


def test_a_command_that_ends_does_not_wait_for_the_next_count(database: str) -> None:
    began = time.monotonic()
    with counted(database, every=600):
        pass
    assert time.monotonic() - began < 60


def all_kept(conn: psycopg.Connection, rows: int) -> Callable[[], bool]:
    return lambda: conn.execute(KEPT).fetchone() == (rows, 0)


KEPT = """
SELECT (SELECT sum(decisions)::int FROM decision_hour_kept), (SELECT count(*) FROM stale_mark)
"""

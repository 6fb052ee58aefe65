"""A connection that waits out what passes by itself, on a real database."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tidegate.link import Link
from tidegate.store.connection import Conn

WRITE = "INSERT INTO inbox_read (kind, number) VALUES ('payments', 7)"
WRITTEN = "SELECT number FROM inbox_read"


@pytest.fixture
def link(database: str) -> Iterator[Link]:
    made = Link(database, "tidegate-test", threading.Event())
    yield made
    made.close()


def write(conn: Conn) -> None:
    conn.execute(WRITE)


def takes_writes(database: str, yes: bool) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("SET default_transaction_read_only = off")
        conn.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}").format(
                sql.Identifier(conn.info.dbname), sql.SQL("off" if yes else "on")
            )
        )


def test_a_database_that_takes_no_writes_for_a_while_is_waited_out(
    database: str, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    takes_writes(database, False)
    later = threading.Timer(1.0, takes_writes, (database, True))
    later.start()
    with caplog.at_level(logging.WARNING):
        link.work(write)
    later.join()
    assert link.away() is None
    assert "read-only transaction" in caplog.records[0].getMessage()
    with psycopg.connect(database) as conn:
        assert conn.execute(WRITTEN).fetchall() == [(7,)]


def test_a_session_that_stood_still_for_too_long_does_its_job_again(
    database: str, link: Link
) -> None:
    tries = 0

    def slow(conn: Conn) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            conn.execute("SET LOCAL idle_in_transaction_session_timeout = 50")
            threading.Event().wait(0.5)
        write(conn)

    link.work(slow)
    assert tries == 2
    with psycopg.connect(database) as conn:
        assert conn.execute(WRITTEN).fetchall() == [(7,)]


def test_what_does_not_pass_is_raised_at_once(link: Link) -> None:
    def wrong(conn: Conn) -> None:
        conn.execute("SELECT nothing")

    with pytest.raises(psycopg.errors.UndefinedColumn):
        link.work(wrong)

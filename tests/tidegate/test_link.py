"""A connection that waits out what passes by itself, on a real database."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.dataflows.streams import query
from tests.waiting import FOR_LOCKS, wait_until
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


def test_a_session_does_not_stand_still_in_a_transaction_for_long(
    database: str, link: Link
) -> None:
    assert link.work(patience) == "30s"
    own = "&options=-c%20idle_in_transaction_session_timeout%3D7s"
    limited = Link(f"{database}{own}", "tidegate-test", threading.Event())
    assert limited.work(patience) == "7s"
    limited.close()


def patience(conn: Conn) -> object:
    return (conn.execute("SHOW idle_in_transaction_session_timeout").fetchone() or ("",))[0]


def test_a_deadlock_is_tried_again_and_is_no_absence(
    database: str, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    """Two take the same two locks in turn: the server ends one of them."""
    met = threading.Barrier(2, timeout=20)
    absences = []

    def first(conn: Conn) -> None:
        conn.execute("SET LOCAL deadlock_timeout = '10s'")  # the other one is ended
        conn.execute("SELECT pg_advisory_xact_lock(1)")
        met.wait()
        conn.execute("SELECT pg_advisory_xact_lock(2)")

    def second(conn: Conn) -> None:
        absences.append(link.away())
        if len(absences) == 1:
            conn.execute("SET LOCAL deadlock_timeout = '10ms'")
            conn.execute("SELECT pg_advisory_xact_lock(2)")
            met.wait()
            # Only one look is had for a deadlock: it has to be there by then.
            wait_until(lambda: query(database, FOR_LOCKS) == [(1,)])
        conn.execute("SELECT pg_advisory_xact_lock(1)")

    other = Link(database, "tidegate-other", threading.Event())
    thread = threading.Thread(target=other.work, args=(first,))
    thread.start()
    with caplog.at_level(logging.WARNING):
        link.work(second)
    thread.join()
    other.close()
    assert absences == [None, None]
    assert "took a transaction back" in caplog.text


def test_what_does_not_pass_is_raised_at_once(link: Link) -> None:
    def wrong(conn: Conn) -> None:
        conn.execute("SELECT nothing")

    with pytest.raises(psycopg.errors.UndefinedColumn):
        link.work(wrong)

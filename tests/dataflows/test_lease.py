"""One cluster holds a database, for as long as it runs and no longer."""

from __future__ import annotations

import logging
import re
import threading
import time

import psycopg
import pytest

from dataflows.lease import Lease
from tidegate.store import connection, lease, progress

HOLDERS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = ("
HOLDERS += "SELECT oid FROM pg_database WHERE datname = current_database())"


@pytest.fixture
def database(either_database: str) -> str:
    return either_database


def holders(database: str) -> list[int]:
    with psycopg.connect(database) as conn:
        return [pid for (pid,) in conn.execute(HOLDERS.encode()).fetchall()]


def test_the_lease_is_held_once_and_free_afterwards(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.lease._PATIENCE", 0.3)
    with Lease(database):
        assert len(holders(database)) == 1
        with pytest.raises(lease.AnotherCluster) as caught, Lease(database):
            pass
        assert str(caught.value) == ("another cluster is running on this database: stop it first")
        with connection.connect(database, application_name="test") as conn:
            progress.take_generation(conn)
        with pytest.raises(lease.AnotherCluster) as caught, Lease(database):
            pass
        assert re.search(r"cluster \(generation 1, started 20.*Z\) is running", str(caught.value))
    with Lease(database):
        assert len(holders(database)) == 1


def test_a_lease_that_is_just_given_back_is_waited_for(database: str) -> None:
    first = connection.connect(database, application_name="test")
    first.autocommit = True
    assert lease.take(first)
    # As when a session takes a moment to see that its client was killed.
    later = threading.Timer(1.0, first.close)
    later.start()
    with Lease(database):
        assert len(holders(database)) == 1
    later.join()


def test_a_lost_lease_is_taken_again(database: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Lease(database, check=0.05):
        (before,) = holders(database)
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute("SELECT pg_terminate_backend(%s)", [before])
        deadline = time.monotonic() + 10
        while holders(database) in ([], [before]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert [r.message.split(":")[0] for r in caplog.records if "lease" in r.name] == [
        "the lease on the database is lost for now",
        "the lease on the database is held again",
    ]


def test_a_lease_lost_to_another_is_left_to_it(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as other:
        with Lease(database, check=0.5):
            (before,) = holders(database)
            other.execute("SELECT pg_terminate_backend(%s, 1000)", [before])
            assert lease.take(other)
            time.sleep(1.5)
            assert holders(database) == [other.info.backend_pid]
        assert holders(database) == [other.info.backend_pid]


def test_what_is_required_is_held_again_at_once_or_refused(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.lease._PATIENCE", 0.3)
    with Lease(database, check=60) as held, psycopg.connect(database, autocommit=True) as other:
        held.require()
        for taken in (False, True):
            (before,) = holders(database)
            other.execute("SELECT pg_terminate_backend(%s, 1000)", [before])
            assert not taken or lease.take(other)
            if taken:
                with pytest.raises(lease.AnotherCluster):
                    held.require()
            else:
                held.require()
                assert holders(database) not in ([], [before])


def test_leases_of_two_databases_do_not_meet(database: str, empty_database: str) -> None:
    with Lease(database), Lease(empty_database):
        pass

"""One cluster writes at a time, and never past a gap."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tidegate.store import connection, progress
from tidegate.store.connection import Conn


def test_each_cluster_takes_the_next_generation(conn: Conn) -> None:
    assert [progress.take_generation(conn) for _ in range(3)] == [1, 2, 3]


def test_clusters_that_start_at_once_take_different_generations(database: str) -> None:
    def start(_: int) -> int:
        with connection.connect(database, application_name="test") as conn:
            return progress.take_generation(conn)

    with ThreadPoolExecutor(4) as starters:
        assert sorted(starters.map(start, range(8))) == list(range(1, 9))


def test_a_fresh_recovery_store_starts_the_count_anew(conn: Conn) -> None:
    generation = progress.take_generation(conn)
    progress.begin(conn, generation, "p0", None)
    assert progress.read(conn) == {"p0": -1}
    progress.advance(conn, generation, {"p0": 5})()
    progress.begin(conn, generation, "p0", None)
    assert progress.read(conn) == {"p0": -1}


def test_a_snapshot_resumes_what_the_database_holds(conn: Conn) -> None:
    first = progress.take_generation(conn)
    for partition in ("p0", "p1", "p2"):
        progress.begin(conn, first, partition, None)
    progress.advance(conn, first, {"p0": 5, "p1": 7, "p2": 2})()
    second = progress.take_generation(conn)
    progress.begin(conn, second, "p0", 5)
    progress.begin(conn, second, "p1", 6)  # it was killed after the commit, before the snapshot
    progress.begin(conn, second, "p3", -1)  # its snapshot says that it never wrote
    # Step 7 comes again and may be another one: nobody may take it for stored.
    assert progress.read(conn) == {"p0": 5, "p1": 6, "p2": 2, "p3": -1}
    progress.advance(conn, second, {"p1": 7})()


@pytest.mark.parametrize(("partition", "snapshot"), [("p0", 6), ("unknown", 0)])
def test_a_database_behind_the_snapshot_is_refused_with_the_way_back(
    conn: Conn, partition: str, snapshot: int
) -> None:
    generation = progress.take_generation(conn)
    progress.begin(conn, generation, "p0", None)
    progress.advance(conn, generation, {"p0": 5})()
    with pytest.raises(progress.DatabaseBehind, match="newer backup") as refused:
        progress.begin(conn, generation, partition, snapshot)
    assert "\n" not in str(refused.value)


def test_an_older_cluster_is_fenced(conn: Conn) -> None:
    old = progress.take_generation(conn)
    progress.begin(conn, old, "p0", None)
    progress.advance(conn, old, {"p0": 0})()
    new = progress.take_generation(conn)
    with pytest.raises(progress.Fenced, match="generation 2 has taken over"):
        progress.advance(conn, old, {"p0": 1})()
    with pytest.raises(progress.Fenced):
        progress.begin(conn, old, "p1", None)
    progress.begin(conn, new, "p0", 0)
    progress.advance(conn, new, {"p0": 1})()
    assert progress.read(conn) == {"p0": 1}


def test_no_partition_advances_when_one_is_fenced_or_unknown(conn: Conn) -> None:
    generation = progress.take_generation(conn)
    progress.begin(conn, generation, "p0", None)
    conn.commit()
    with pytest.raises(progress.Fenced, match="knows no such cluster"):
        progress.advance(conn, generation, {"p0": 3, "never-begun": 3})()
    conn.rollback()
    assert progress.read(conn) == {"p0": -1}
    progress.advance(conn, generation, {})()


def test_a_cluster_without_a_generation_may_not_begin(conn: Conn) -> None:
    with pytest.raises(progress.Fenced):
        progress.begin(conn, 1, "p0", None)


def test_a_start_waits_for_the_older_clusters_open_transaction(database: str) -> None:
    with (
        connection.connect(database, application_name="old") as old,
        connection.connect(database, application_name="new") as new,
    ):
        generation = progress.take_generation(old)
        progress.begin(old, generation, "p0", None)
        old.commit()
        progress.advance(old, generation, {"p0": 0})()  # and it has not committed yet
        new.execute("SET LOCAL lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            progress.take_generation(new)
        new.rollback()
        old.commit()
        progress.take_generation(new)
        new.commit()
        with pytest.raises(progress.Fenced):
            progress.advance(old, generation, {"p0": 1})()
        old.rollback()


def test_what_is_stored_of_a_topic_is_marked_for_its_generation_alone(conn: Conn) -> None:
    first = progress.take_generation(conn)
    progress.mark(conn, first, {("transactions", 0): 7, ("labels", 1): 3})
    progress.mark(conn, first, {("transactions", 0): 9})
    progress.mark(conn, first, {})
    assert progress.read_marks(conn, first) == {("transactions", 0): 9, ("labels", 1): 3}
    second = progress.take_generation(conn)
    assert progress.read_marks(conn, second) == {}

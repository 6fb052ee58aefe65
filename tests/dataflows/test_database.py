"""The database may be away, slow or taken over: nothing is lost, doubled or written twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from dataflows.history import DatabaseHistory
from dataflows.messages import Outcome
from dataflows.writer import MOST_QUEUED, DatabaseWriter
from models.features import WIDTH
from tests.databases import at
from tests.dataflows.streams import START, decided, labels, payments, query
from tests.waiting import wait_until
from tidegate import metrics
from tidegate.schema import SECOND, Metric, ModelVersion
from tidegate.store import connection, progress

PARTS = ["p0", "p1"]


def generation(database: str) -> int:
    with connection.connect(database, application_name="test") as conn:
        return progress.take_generation(conn)


def outcome(number: int, rows: int = 2) -> Outcome:
    """A step of payments named after it."""
    names = [f"t{number}-{row}" for row in range(rows)]
    times = [START + number * SECOND + row for row in range(rows)]
    return Outcome(number, time.time(), decided(payments(names, times), width=2, log_odds=number))


@contextmanager
def away(postgres: str, database: str) -> Iterator[None]:
    """Takes the database away: its sessions are ended and nobody may connect."""
    name = str(conninfo_to_dict(database)["dbname"])
    allow = "ALTER DATABASE {} ALLOW_CONNECTIONS {}"
    with psycopg.connect(at(postgres, "postgres"), autocommit=True) as conn:

        def allowed(value: str) -> None:
            conn.execute(sql.SQL(allow).format(sql.Identifier(name), sql.SQL(value)))

        allowed("false")
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        try:
            yield
        finally:
            allowed("true")


def ids(database: str) -> list[str]:
    return [name for (name,) in query(database, "SELECT transaction_id FROM score ORDER BY 1")]


def wait_for(what: str, condition: threading.Event) -> None:
    assert condition.wait(30), what


def test_settle_waits_until_everything_taken_is_durable(database: str) -> None:
    told: list[int] = []

    def stored(outcomes: Sequence[Outcome]) -> None:
        told.extend(outcome.number for outcome in outcomes)

    with closing(DatabaseWriter(database, generation(database), stored)) as writer:
        for part in PARTS:
            writer.begin(part, None)
        assert writer.settle("p0") == -1
        writer.write("p0", [outcome(0), outcome(1)])
        writer.write("p1", [outcome(2)])
        assert writer.settle("p0") == 1
        assert set(ids(database)) >= {"t0-0", "t0-1", "t1-0", "t1-1"}
        assert writer.settle("p1") == 2
    assert told == [0, 1, 2]
    assert dict(query(database, "SELECT partition, sequence FROM sink_progress")) == {
        "p0": 1,
        "p1": 2,
    }


def test_everything_of_an_outcome_is_stored(database: str) -> None:
    version = ModelVersion("v1", "champion", START, b"content", 3, 1)
    metric = Metric("champion", "average_precision", START, 0.5, 3)
    told = labels([("t0-0", START, True)])
    full = Outcome(0, labels=told, version=version, metrics=(metric,))
    with closing(DatabaseWriter(database, generation(database))) as writer:
        writer.begin("p0", None)
        writer.write("p0", [full, Outcome(1, labels=told, version=version, metrics=(metric,))])
        writer.settle("p0")
    assert query(database, "SELECT transaction_id, fraud, source FROM label") == [
        ("t0-0", True, "chargeback")
    ]
    assert query(database, "SELECT version FROM model_version") == [("v1",)]
    assert query(database, "SELECT metric, value FROM model_metric") == [("average_precision", 0.5)]


def test_a_replay_changes_nothing(database: str) -> None:
    seen = []
    for _ in range(2):
        with closing(DatabaseWriter(database, generation(database))) as writer:
            writer.begin("p0", None)
            writer.write("p0", [outcome(0)])
            writer.settle("p0")
        seen.append(query(database, "SELECT * FROM score ORDER BY 1"))
    assert len(seen[0]) == 2
    assert seen[0] == seen[1]


def test_while_the_database_is_away_the_queue_fills_and_nothing_is_lost(
    postgres: str, database: str
) -> None:
    rows, steps = 4096, 14
    taken: list[int] = []
    filled, done = threading.Event(), threading.Event()

    def write() -> None:
        for number in range(1, steps):
            writer.write("p0", [outcome(number, rows)])
            taken.append(number)
            if len(taken) * rows >= MOST_QUEUED:
                filled.set()
        done.set()

    with closing(DatabaseWriter(database, generation(database))) as writer:
        writer.begin("p0", None)
        writer.write("p0", [outcome(0, rows)])
        writer.settle("p0")
        held = metrics.BACK_PRESSURE_SECONDS._value.get()
        with away(postgres, database):
            thread = threading.Thread(target=write, daemon=True)
            thread.start()
            wait_for("the queue takes what there is room for", filled)
            assert not done.wait(0.5), "the sink must block while the queue is full"
            assert len(taken) * rows < MOST_QUEUED + 2 * rows
            assert metrics.WRITER_QUEUED_ROWS._value.get() >= MOST_QUEUED
        wait_for("the writer goes on when the database is back", done)
        assert writer.settle("p0") == steps - 1
        thread.join(10)
        assert metrics.BACK_PRESSURE_SECONDS._value.get() - held >= 0.5
        assert metrics.WRITER_QUEUED_ROWS._value.get() == 0
    assert query(database, "SELECT count(*), count(DISTINCT transaction_id) FROM score") == [
        (rows * steps, rows * steps)
    ]


def test_a_session_that_is_cut_in_the_middle_costs_nothing(database: str) -> None:
    with closing(DatabaseWriter(database, generation(database))) as writer:
        writer.begin("p0", None)
        for number in range(20):
            writer.write("p0", [outcome(number, 50)])
            with psycopg.connect(database) as conn:
                conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'tidegate-sink' AND datname = current_database()"
                )
        assert writer.settle("p0") == 19
    assert len(ids(database)) == 20 * 50


def test_an_older_cluster_is_fenced_and_says_so(database: str) -> None:
    with closing(DatabaseWriter(database, generation(database))) as writer:
        writer.begin("p0", None)
        writer.write("p0", [outcome(0)])
        writer.settle("p0")
        generation(database)
        writer.write("p0", [outcome(1)])
        with pytest.raises(progress.Fenced, match="generation 2 has taken over"):
            writer.settle("p0")
        with pytest.raises(progress.Fenced):
            writer.write("p0", [outcome(2)])
        with pytest.raises(progress.Fenced):
            writer.begin("p1", None)
    assert ids(database) == ["t0-0", "t0-1"]


def test_a_database_behind_the_snapshot_is_refused(database: str) -> None:
    with closing(DatabaseWriter(database, generation(database))) as writer:
        writer.begin("p0", None)
        writer.write("p0", [outcome(0)])
        writer.settle("p0")
        with pytest.raises(progress.DatabaseBehind):
            writer.begin("p0", 1)


def test_close_stores_what_is_queued(database: str) -> None:
    writer = DatabaseWriter(database, generation(database))
    writer.begin("p0", None)
    writer.write("p0", [outcome(number) for number in range(50)])
    writer.close()
    assert len(ids(database)) == 100


def test_close_does_not_wait_for_a_database_that_is_away(postgres: str, database: str) -> None:
    writer = DatabaseWriter(database, generation(database))
    writer.begin("p0", None)
    history = DatabaseHistory(database, PARTS)
    with away(postgres, database):
        writer.write("p0", [outcome(0)])
        asked = history.between(START, START + SECOND)
        began = time.monotonic()
        writer.close()
        history.close()
        assert time.monotonic() - began < 10
        with pytest.raises(psycopg.OperationalError):
            asked.result(1)
        with pytest.raises(psycopg.OperationalError):
            writer.settle("p0")
    assert ids(database) == []


def test_history_answers_what_was_served(database: str) -> None:
    with (
        closing(DatabaseWriter(database, generation(database))) as writer,
        closing(DatabaseHistory(database, PARTS)) as history,
    ):
        for part in PARTS:
            writer.begin(part, None)
        writer.write("p0", [outcome(0), outcome(1)])
        writer.settle("p0")
        found = history.between(START, START + SECOND).result(10)
        assert found.transaction_id.tolist() == ["t0-1", "t1-0"]
        assert found.features.shape == (2, WIDTH)
        # Those that a decision was stored without are missing.
        assert np.isnan(found.features).tolist() == [[False, False, *[True] * (WIDTH - 2)]] * 2
        assert history.by_ids(["t1-1", "none"], START + 60 * SECOND).result(
            10
        ).log_odds.tolist() == [1]
        assert durable(history) == -1  # p1 has stored nothing
        writer.write("p1", [outcome(2)])
        writer.settle("p1")
        wait_until(lambda: durable(history) == 1)


def durable(history: DatabaseHistory) -> int:
    """What the history says once it has looked again."""
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        history.durable()
        time.sleep(0.005)
    return history.durable()


def test_history_waits_while_the_database_is_away(postgres: str, database: str) -> None:
    with closing(DatabaseHistory(database, PARTS)) as history:
        assert len(history.between(START, START + SECOND).result(10)) == 0
        with away(postgres, database):
            asked = history.between(START, START + SECOND)
            time.sleep(0.3)
            assert not asked.done()
            assert history.durable() == -1
        assert len(asked.result(15)) == 0

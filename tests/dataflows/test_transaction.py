"""A batch is stored with everything that came with it, in four trips to the database."""

from __future__ import annotations

import re
import time
from pathlib import Path

import psycopg
import pytest
from psycopg.pq import Trace

from dataflows.messages import Outcome
from dataflows.transaction import store
from tests.dataflows.streams import START, dead, decided, labels, payments, query
from tidegate.schema import Metric, ModelVersion
from tidegate.store import connection, progress

EVERYTHING = """
SELECT
    (SELECT count(*) FROM score), (SELECT count(*) FROM alert), (SELECT count(*) FROM label),
    (SELECT count(*) FROM dead_letter), (SELECT count(*) FROM model_version),
    (SELECT count(*) FROM model_metric), (SELECT count(*) FROM source_progress),
    (SELECT sequence FROM sink_progress)
"""


@pytest.fixture
def database(either_database: str) -> str:
    return either_database


@pytest.fixture
def generation(database: str) -> int:
    with connection.connect(database, application_name="test") as conn:
        taken = progress.take_generation(conn)
        progress.begin(conn, taken, "p0", None)
        return taken


def full(number: int, rows: int = 8) -> Outcome:
    """A step with all that a step may have."""
    names = [f"t{number}-{row}" for row in range(rows)]
    return Outcome(
        number,
        time.time(),
        decided(payments(names, [START + row for row in range(rows)]), width=2, declined=2),
        labels=labels([(names[0], START, True)]),
        dead=dead(number),
        version=ModelVersion(f"v{number}", "champion", START, b"content", 3, 1),
        metrics=(Metric("champion", "average_precision", START + number, 0.5, 3),),
        marks={("transactions", 0): number + 1},
    )


def trips(trace: Path) -> int:
    """How often an answer had to be waited for: whenever the server says that it is ready, or ready
    for rows, and where what was sent of a pipeline was asked for before its end."""
    waits, ends = 0, 0
    said = re.findall(r"^([FB])\t\d+\t(\w+)", trace.read_text(), re.MULTILINE)
    for way, message in said:
        if message == "Sync":
            ends += 1
        elif message == "Flush":
            waits += ends == 0  # else the end is on its way, and will be answered anyway
        elif way == "B" and message in ("ReadyForQuery", "CopyInResponse"):
            ends = max(0, ends - 1)
            waits += 1
    return waits


def test_a_batch_takes_four_trips_with_all_that_comes_with_it(
    database: str, generation: int, tmp_path: Path
) -> None:
    counted = []
    with connection.connect(database, application_name="test", autocommit=True) as conn:
        for number in range(8):  # psycopg prepares what comes often
            trace = tmp_path / f"{number}"
            with trace.open("wb") as file:
                conn.pgconn.trace(file.fileno())
                conn.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
                taken = [("p0", full(2 * number)), ("p0", full(2 * number + 1))]
                assert store(conn, generation, taken, noted={}, tells=True) == 16
                conn.pgconn.untrace()
            counted.append(trips(trace))
    assert counted == [4] * 8
    assert query(database, EVERYTHING) == [(128, 32, 16, 16, 16, 16, 1, 15)]


def test_a_batch_without_decisions_takes_two_trips(
    database: str, generation: int, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    with (
        connection.connect(database, application_name="test", autocommit=True) as conn,
        trace.open("wb") as file,
    ):
        conn.pgconn.trace(file.fileno())
        conn.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        only = Outcome(0, labels=labels([("t0", START, True)]))
        assert store(conn, generation, [("p0", only)], noted={}, tells=True) == 0
        conn.pgconn.untrace()
    assert trips(trace) == 2
    assert query(database, EVERYTHING) == [(0, 0, 1, 0, 0, 0, 0, 0)]


def test_an_older_cluster_stores_nothing(database: str, generation: int) -> None:
    with connection.connect(database, application_name="test") as conn:
        progress.take_generation(conn)
    with (
        connection.connect(database, application_name="test", autocommit=True) as conn,
        pytest.raises(progress.Fenced, match="generation 2 has taken over"),
    ):
        store(conn, generation, [("p0", full(0))], noted={}, tells=True)
    assert query(database, EVERYTHING) == [(0, 0, 0, 0, 0, 0, 0, -1)]


def test_one_thing_that_cannot_be_stored_leaves_nothing_of_the_batch(
    database: str, generation: int
) -> None:
    with psycopg.connect(database) as conn:
        conn.execute("ALTER TABLE model_metric ADD CONSTRAINT none CHECK (value > 1) NOT VALID")
    with (
        connection.connect(database, application_name="test", autocommit=True) as conn,
        pytest.raises(psycopg.errors.CheckViolation),
    ):
        store(conn, generation, [("p0", full(0))], noted={}, tells=True)
    assert query(database, EVERYTHING) == [(0, 0, 0, 0, 0, 0, 0, -1)]

"""The writer and others in a database at once: refused, it tries again, and doubles nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict

from dataflows.messages import Outcome
from dataflows.writer import DatabaseWriter
from tests.api.rows import put_score
from tests.dataflows.streams import START, dead, decided, labels, payments, query
from tests.dataflows.test_database import generation
from tests.waiting import FOR_LOCKS, wait_until
from tidegate.schema import Metric, ModelVersion

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = [f"t{row}" for row in range(20)]
BESIDE = """
SELECT
    (SELECT count(*) FROM label), (SELECT count(*) FROM dead_letter),
    (SELECT count(*) FROM model_version), (SELECT count(*) FROM model_metric),
    (SELECT count(*) FROM source_progress)
"""
ALERTED = "SELECT transaction_id FROM alert ORDER BY event_time"


@pytest.fixture
def database(either_database: str) -> str:
    return either_database


def step() -> Outcome:
    """All that a step may have; the first three payments are declined."""
    times = [START + row for row in range(len(NAMES))]
    return Outcome(
        0,
        time.time(),
        decided(payments(NAMES, times), width=2, log_odds=7, declined=3),
        labels=labels([(NAMES[0], START, True)]),
        dead=dead(0),
        version=ModelVersion("v1", "champion", START, b"content", 3, 1),
        metrics=(Metric("champion", "average_precision", START, 0.5, 3),),
        marks={("transactions", 0): 21},
    )


def put(conn: Connection[Any], row: int) -> None:
    """The same payment, decided by somebody else."""
    put_score(
        conn, NAMES[row], 0, event_time=EPOCH + timedelta(microseconds=START + row), log_odds=1
    )


@contextmanager
def writing(database: str) -> Iterator[tuple[DatabaseWriter, Connection[Any]]]:
    """A writer, and somebody else's transaction."""
    with psycopg.connect(database, autocommit=True) as conn:
        # On TimescaleDB one who makes a day's chunk is waited for: it is there before.
        put(conn, 0)
        conn.execute("DELETE FROM score")
    with (
        psycopg.connect(database) as other,
        closing(DatabaseWriter(database, generation(database))) as writer,
    ):
        writer.begin("p0", None)
        yield writer, other


def stored(database: str) -> dict[str, int]:
    rows = query(database, "SELECT transaction_id, log_odds FROM score")
    found: dict[str, int] = dict(rows)
    assert len(found) == len(rows)
    # All of the step is there once, or nothing of it.
    once = bool(found)
    assert query(database, BESIDE) == [(once, once, once, once, once)]
    assert [name for (name,) in query(database, ALERTED)] == (NAMES[:3] if once else [])
    return found


def test_who_cannot_be_serialized_writes_again_and_the_first_decision_stands(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = str(conninfo_to_dict(database)["dbname"])
    strict = "ALTER DATABASE {} SET default_transaction_isolation TO 'repeatable read'"
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(sql.SQL(strict).format(sql.Identifier(name)))
    with caplog.at_level(logging.WARNING), writing(database) as (writer, other):
        put(other, 3)
        writer.write("p0", [step()])
        wait_until(lambda: query(database, FOR_LOCKS) == [(1,)])
        other.commit()
        assert writer.settle("p0") == 0
    assert "could not serialize access" in caplog.text
    assert stored(database) == dict.fromkeys(NAMES, 7) | {NAMES[3]: 1}


def test_a_deadlock_is_left_and_the_batch_written_again(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    # The writer looks once, by when both wait; the other one does not, so the writer gives way.
    with psycopg.connect(database, autocommit=True) as conn:
        late = sql.SQL("ALTER DATABASE {} SET deadlock_timeout = '4s'")
        conn.execute(late.format(sql.Identifier(str(conninfo_to_dict(database)["dbname"]))))
    with caplog.at_level(logging.WARNING), writing(database) as (writer, other):
        other.execute("SET deadlock_timeout = '60s'")
        put(other, 15)
        writer.write("p0", [step()])
        wait_until(lambda: query(database, FOR_LOCKS) == [(1,)])
        put(other, 5)  # which the writer has written: each waits for the other
        other.commit()
        assert writer.settle("p0") == 0
    assert "deadlock detected" in caplog.text
    assert stored(database) == dict.fromkeys(NAMES, 7) | {NAMES[5]: 1, NAMES[15]: 1}


def test_a_full_disk_is_waited_out(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """The disk's error is raised by a trigger, with the code that PostgreSQL gives it."""
    with psycopg.connect(database) as conn:
        conn.execute(
            """
            CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION 'could not extend file: No space left on device'
                    USING ERRCODE = 'disk_full';
            END
            $$
            """
        )
        conn.execute("CREATE TRIGGER no_room BEFORE INSERT ON alert EXECUTE FUNCTION no_room()")
    with caplog.at_level(logging.WARNING), writing(database) as (writer, other):
        writer.write("p0", [step()])
        wait_until(lambda: caplog.text.count("No space left on device") >= 2)
        assert writer.away() is not None
        assert stored(database) == {}
        other.execute("DROP TRIGGER no_room ON alert")
        other.commit()
        assert writer.settle("p0") == 0
        assert writer.away() is None
    assert stored(database) == dict.fromkeys(NAMES, 7)

"""Dead letters from the command line, on a real database and a real broker."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.api.rows import at, put_dead_letter
from tests.kafka.broker import Broker
from tests.kafka.fixtures import kafka_settings
from tests.tidegate.cli.conftest import Command
from tests.tidegate.kafka.letters import BAD, corrected, letter_of, messages, write
from tidegate.settings import Kafka, Topics
from tidegate.store import inbox
from tidegate.store.connection import Conn

Replay = Callable[..., CompletedProcess[str]]


@pytest.fixture
def kafka(broker: Broker, topics: Topics) -> Kafka:
    return kafka_settings(broker, topics)


@pytest.fixture
def replay(tidegate: Command, database: str, kafka: Kafka) -> Replay:
    """`tidegate dead-letters replay` with these arguments, on the test's database and broker."""
    settings = {
        "DATABASE_URL": database,
        "LOG_LEVEL": "warning",
        "KAFKA_BROKERS": ",".join(kafka.brokers),
        "TOPIC_TRANSACTIONS": kafka.topics.transactions,
        "TOPIC_LABELS": kafka.topics.labels,
    }
    return lambda *arguments, **given: tidegate(
        "dead-letters", "replay", *arguments, **settings | given
    )


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("list", ["--reason", "--topic", "--all", "--limit", "--json"]),
        ("replay", ["--reason", "--payload", "--again"]),
    ],
)
def test_help_names_every_option(tidegate: Command, command: str, options: list[str]) -> None:
    told = tidegate("dead-letters", command, "--help")
    assert told.returncode == 0
    assert f"tidegate dead-letters {command}" in told.stdout
    assert all(option in told.stdout for option in options)


def test_the_list_shows_those_that_wait_aligned(
    tidegate: Command, database: str, conn: Conn
) -> None:
    put_dead_letter(conn, 1, detail="not JSON: \x1b[2J")
    put_dead_letter(conn, 22, topic="labels", reason="card_number", field="reason")
    put_dead_letter(conn, 3, replayed_at=at(60))
    conn.commit()

    def lines(*arguments: str) -> list[list[str]]:
        told = tidegate("dead-letters", "list", *arguments, DATABASE_URL=database)
        assert told.returncode == 0, told.stderr
        return [re.split(r"  +", line) for line in told.stdout.splitlines()]

    assert lines() == [
        ["id", "from", "at", "reason", "field", "detail", "replayed"],
        ["2", "labels 0:22", "2026-03-01 12:00:22", "card_number", "reason", "not JSON"],
        ["1", "transactions 0:1", "2026-03-01 12:00:01", "malformed", "not JSON: \\u001b[2J"],
    ]
    assert [line[0] for line in lines("--all")] == ["id", "3", "2", "1"]
    assert lines("--all")[1][-1] == "2026-03-01 12:01:00"
    assert [line[0] for line in lines("--topic", "labels")] == ["id", "2"]
    assert [line[0] for line in lines("--reason", "malformed")] == ["id", "1"]
    assert lines("--reason", "bad_time") == []
    told = tidegate("dead-letters", "list", "--limit", 1, DATABASE_URL=database)
    assert len(told.stdout.splitlines()) == 2
    assert "older ones" in told.stderr


def test_the_list_as_json_has_every_column(tidegate: Command, database: str, conn: Conn) -> None:
    put_dead_letter(conn, 1, payload="{}")
    conn.commit()
    told = tidegate("dead-letters", "list", "--json", DATABASE_URL=database)
    (line,) = told.stdout.splitlines()
    found = json.loads(line)
    assert (found["id"], found["offset"], found["payload"]) == (1, 1, "{}")
    assert (found["at"], found["replayed_at"]) == ("2026-03-01T12:00:01+00:00", None)


def test_replay_says_one_line_each_and_goes_on_after_one_that_cannot_be(
    replay: Replay, kafka: Kafka, conn: Conn
) -> None:
    first = letter_of(conn, write(kafka, kafka.topics.transactions))
    second = letter_of(conn, write(kafka, kafka.topics.labels))
    told = replay(first.id, 999, second.id)
    assert told.returncode == 1
    assert told.stdout.splitlines() == [
        f"{first.id}: replayed, now {first.topic} 0:1",
        f"{second.id}: replayed, now {second.topic} 0:1",
    ]
    assert told.stderr == "999: not replayed: there is no dead letter 999\n"
    ((actor,),) = conn.execute("SELECT DISTINCT actor FROM audit").fetchall()
    assert actor.startswith("cli:")


def test_replay_of_a_reason_takes_those_that_wait_in_their_order(
    replay: Replay, kafka: Kafka, conn: Conn
) -> None:
    topic = kafka.topics.transactions
    for number in range(4):
        message = write(kafka, topic, b"%d" % number)
        replayed_at = at(1) if number == 1 else None
        letter_of(conn, message, replayed_at=replayed_at, reason="bad_time")
    letter_of(conn, write(kafka, topic, b"other"))
    told = replay("--reason", "bad_time")
    assert told.returncode == 0, told.stderr
    assert len(told.stdout.splitlines()) == 3
    assert [one.value() for one in messages(kafka, topic)][5:] == [b"0", b"2", b"3"]
    told = replay("--reason", "bad_time")
    assert (told.returncode, told.stdout) == (0, "")
    assert "no dead letters of reason" in told.stderr


def test_a_correction_comes_from_a_file(
    replay: Replay, kafka: Kafka, conn: Conn, tmp_path: Path
) -> None:
    letter = letter_of(conn, write(kafka, kafka.topics.transactions))
    path = tmp_path / "corrected.json"
    path.write_bytes(corrected(currency="XXQ"))
    told = replay(letter.id, "--payload", path)
    assert told.returncode == 1
    assert "unknown_currency: currency: " in told.stderr
    path.write_bytes(corrected())
    told = replay(letter.id, "--payload", path)
    assert told.returncode == 0, told.stderr
    last = messages(kafka, letter.topic)[-1]
    assert (last.value(), last.key()) == (corrected(), b"card-1")


def test_a_second_replay_needs_to_be_asked_for(replay: Replay, kafka: Kafka, conn: Conn) -> None:
    letter = letter_of(conn, write(kafka, kafka.topics.transactions), replayed_at=at(9))
    told = replay(letter.id)
    assert told.returncode == 1
    assert "already replayed at 2026-03-01T12:00:09+00:00" in told.stderr
    assert replay(letter.id, "--again").returncode == 0
    assert [one.value() for one in messages(kafka, letter.topic)] == [BAD, BAD]


def test_a_letter_of_the_inbox_needs_no_kafka(tidegate: Command, database: str, conn: Conn) -> None:
    inbox.lock(conn)
    (number,) = inbox.put_payments(conn, ["t-1"], [7], ["{}"])
    put_dead_letter(conn, number, topic="inbox:payments", reason="bad_time")
    conn.commit()
    told = tidegate("dead-letters", "replay", "--reason", "bad_time", DATABASE_URL=database)
    assert told.returncode == 0, told.stderr
    (after,) = [one.number for one in inbox.read(conn, "payments", 0, 9)]
    assert told.stdout == f"1: replayed, now inbox:payments 0:{after}\n"


def test_a_kafka_that_is_not_there_is_one_line(
    tidegate: Command, database: str, conn: Conn
) -> None:
    put_dead_letter(conn, 1)
    conn.commit()
    told = tidegate("dead-letters", "replay", 1, DATABASE_URL=database)
    assert told.returncode == 1
    *_, last = told.stderr.splitlines()
    assert last.startswith("tidegate: TIDEGATE_KAFKA_BROKERS is not set")
    settings = {"DATABASE_URL": database, "KAFKA_BROKERS": "127.0.0.1:1", "LOG_LEVEL": "warning"}
    told = tidegate("dead-letters", "replay", 1, **settings)
    assert told.returncode == 1
    assert told.stderr == "tidegate: Kafka did not answer within 10 seconds\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["1", "--reason", "malformed"],
        ["1", "2", "--payload", "-"],
        ["--reason", "malformed", "--payload", "-"],
        ["--reason", "malformed", "--again"],
        ["0"],
        ["one"],
    ],
)
def test_what_does_not_go_together_is_a_matter_of_usage(
    tidegate: Command, arguments: list[str]
) -> None:
    told = tidegate("dead-letters", "replay", *arguments)
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1].startswith("Error: ")

"""`tidegate doctor` names each thing that is wrong in one line, and says what to do."""

from __future__ import annotations

import json
from dataclasses import astuple, fields
from pathlib import Path

import psycopg
import pytest

import migrations
from tests.api.rows import put_score
from tests.dataflows.streams import simulated, write
from tests.kafka.broker import Broker, free_ports
from tests.tidegate.cli.conftest import Command
from tidegate.settings import Topics
from tidegate.store import aggregates, policies
from tidegate.store.policies import Kind


def told(tidegate: Command, **settings: str) -> tuple[list[list[str]], list[str]]:
    """What is wrong, as the parts of each line, and the other lines."""
    said = tidegate("doctor", **settings)
    lines = said.stdout.splitlines()
    assert said.stderr == "", said.stderr
    wrong = [line.split("  ", 2) for line in lines if line.startswith("wrong  ")]
    right = [line for line in lines if line.startswith("ok ")]
    assert len(wrong) + len(right) == len(lines)
    assert said.returncode == (1 if wrong else 0)
    return [[part.strip() for part in line] for line in wrong], right


def is_plain(url: str) -> bool:
    with psycopg.connect(url) as conn:
        return policies.kind(conn)[0] == Kind.PLAIN


def test_all_is_well(tidegate: Command, database: str) -> None:
    wrong, right = told(tidegate, DATABASE_URL=database)
    if is_plain(database):
        assert wrong == []
        assert [line[7:21].strip() for line in right] == [
            *("settings", "database", "schema", "kind", "counts"),
            *("score", "dead_letter", "model_metric", "audit", "kafka", "recovery store"),
        ]
        assert "PostgreSQL without TimescaleDB: plain tables; tidegate maintain" in right[3]
        assert right[5].endswith("; kept for 400 days")
        assert right[8].endswith("; kept for ever")


def test_a_setting_that_is_not_allowed(tidegate: Command) -> None:
    wrong, right = told(tidegate, COMPRESS_AFTER_DAYS="7")
    assert right == []
    assert wrong == [
        [
            *("wrong", "settings"),
            "TIDEGATE_COMPRESS_AFTER_DAYS is 7: more than TIDEGATE_MATURITY_DAYS, 7, or 0 for "
            "never, is allowed",
        ]
    ]


def test_a_database_that_nobody_answers_at(tidegate: Command) -> None:
    (line,), _ = told(tidegate)
    assert line[:2] == ["wrong", "database"]
    assert line[2].endswith("is it there, and is TIDEGATE_DATABASE_URL right?")


def test_an_embedded_database_that_is_not_made_yet_is_left_so(
    tidegate: Command, tmp_path: Path
) -> None:
    wrong, right = told(tidegate, DATABASE_URL="")
    assert wrong == []
    assert "not made yet" in right[1]
    assert not (tmp_path / "data").exists()


def test_an_older_schema(tidegate: Command, empty_database: str) -> None:
    migrations.upgrade(empty_database, "0001")
    (line,), _ = told(tidegate, DATABASE_URL=empty_database)
    assert line == [
        *("wrong", "schema"),
        f"at 0001, this version works with {migrations.head()}: run tidegate migrate",
    ]


def test_counts_that_nobody_brings_up_to_date(tidegate: Command, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        if aggregates.kind(conn) is not aggregates.Kind.KEPT:
            pytest.skip("the given server counts by itself")
        for number in range(49):
            put_score(conn, f"t{number}", 3600 * number)
        assert told(tidegate, DATABASE_URL=database)[0] == []  # so few are counted in a moment
        conn.execute("UPDATE pg_class SET reltuples = 200000 WHERE oid = 'score'::regclass")
        (line,), _ = told(tidegate, DATABASE_URL=database)
        assert line[:2] == ["wrong", "counts"]
        assert line[2].endswith("keep tidegate run or tidegate maintain going")
        aggregates.refresh(conn)
    assert told(tidegate, DATABASE_URL=database)[0] == []


def test_policies_that_are_not_as_set(tidegate: Command, timescale: str) -> None:
    assert tidegate("migrate", DATABASE_URL=timescale).returncode == 0
    wrong, right = told(tidegate, DATABASE_URL=timescale)
    assert wrong == []
    (score,) = (line for line in right if line[7:21].strip() == "score")
    assert score.endswith("; 0 chunks of 1 day; compressed after 14 days; kept for 400 days")
    line, *_ = told(tidegate, DATABASE_URL=timescale, RETENTION_SCORE_DAYS="30")[0]
    assert line == [
        *("wrong", "policies"),
        "not as set (score: kept for 30 days; before: kept for 400 days): run tidegate migrate",
    ]


def test_a_broker_that_is_not_there(tidegate: Command, database: str) -> None:
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    (line,), _ = told(tidegate, DATABASE_URL=database, KAFKA_BROKERS=nowhere)
    assert line[:2] == ["wrong", "kafka"]
    assert line[2].startswith(f"no Kafka broker of {nowhere} answered in ")


def test_topics_that_are_there_and_one_that_is_not(
    tidegate: Command, database: str, broker: Broker, topics: Topics
) -> None:
    names = {f"TOPIC_{field.name.upper()}": getattr(topics, field.name) for field in fields(topics)}
    given = {"DATABASE_URL": database, "KAFKA_BROKERS": broker.address, **names}
    wrong, right = told(tidegate, **given)
    assert wrong == []
    for name in astuple(topics):
        assert any(line.endswith(f"{name}: 4 partitions") for line in right)
    for _ in range(2):  # looking does not make it
        (line,), _ = told(tidegate, **given | {"TOPIC_ALERTS": "nowhere-to-be-seen"})
        assert line[1] == "topic"
        assert line[2].startswith("nowhere-to-be-seen (TIDEGATE_TOPIC_ALERTS): unknown topic")


def test_a_recovery_store_of_a_run(tidegate: Command, database: str, tmp_path: Path) -> None:
    paths = write(tmp_path, *simulated(500, 5, seed=3))
    run = tidegate(
        *("run", "--transactions", paths[0], "--labels", paths[1]), DATABASE_URL=database
    )
    assert run.returncode == 0, run.stderr
    wrong, right = told(tidegate, DATABASE_URL=database)
    assert wrong == [] or not is_plain(database)
    assert "made for files, state of " in right[-1]
    (line,), _ = told(tidegate, DATABASE_URL=database, SHARDS="2")
    assert line[1] == "recovery store"
    assert "was made with shards 4, not 2: change TIDEGATE_SHARDS back, or" in line[2]
    store = tmp_path / "data" / "recovery"
    (part,) = list(store.glob("part-0.sqlite3"))
    part.write_bytes(b"torn" * 2000)
    (line,), _ = told(tidegate, DATABASE_URL=database)
    assert "cannot be read: file is not a database: restore a backup, or move" in line[2]
    (store / "tidegate.json").write_text(json.dumps([]))
    (line,), _ = told(tidegate, DATABASE_URL=database)
    assert "cannot be read: tidegate.json is no JSON object" in line[2]


def test_a_recovery_directory_with_something_else_in_it(
    tidegate: Command, database: str, tmp_path: Path
) -> None:
    (tmp_path / "note").write_text("x")
    (line,), _ = told(tidegate, DATABASE_URL=database, RECOVERY_DIR=str(tmp_path))
    assert line[1] == "recovery store"
    assert line[2].endswith("holds no recovery store: name another TIDEGATE_RECOVERY_DIR")

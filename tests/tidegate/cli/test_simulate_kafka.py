"""`tidegate simulate --kafka` on a real broker."""

from __future__ import annotations

from dataclasses import asdict, astuple

import pytest

from tests.kafka.broker import Broker
from tests.kafka.fixtures import topic_names
from tests.tidegate.cli.conftest import Command
from tidegate import simulate

WORLD = ["--customers", 30, "--terminals", 20, "--days", 5, "--seed", 5]


def test_simulate_sends_all_payments_and_labels_and_makes_the_topics(
    tidegate: Command, broker: Broker
) -> None:
    topics = topic_names()
    named = {f"TOPIC_{name.upper()}": topic for name, topic in asdict(topics).items()}
    told = tidegate("simulate", "--kafka", *WORLD, KAFKA_BROKERS=broker.address, **named)
    try:
        assert told.returncode == 0, told.stderr
        batch, labels = simulate.simulate(30, 20, 5, seed=5)
        assert told.stdout.splitlines() == [
            f"{len(batch)} payments in {topics.transactions}",
            f"{len(labels)} labels in {topics.labels}",
        ]
        said = broker.tool("kafka-get-offsets", "--topic", topics.transactions)
        assert sum(int(line.split(":")[2]) for line in said.splitlines()) == len(batch)
        assert set(astuple(topics)) <= set(broker.admin().list_topics(timeout=10).topics)
    finally:
        broker.delete_topics(*astuple(topics))


@pytest.mark.parametrize("given", [[], ["--kafka", "--out", "."]])
def test_it_is_either_files_or_kafka(tidegate: Command, given: list[str]) -> None:
    told = tidegate("simulate", *given)
    assert told.returncode == 2
    assert "either --out or --kafka" in told.stderr


def test_a_rate_is_for_kafka(tidegate: Command) -> None:
    told = tidegate("simulate", "--out", ".", "--rate", "5")
    assert told.returncode == 2
    assert "goes with --kafka" in told.stderr


def test_without_a_broker_it_says_so_in_one_line(tidegate: Command) -> None:
    told = tidegate("simulate", "--kafka", *WORLD)
    assert told.returncode == 1
    assert told.stderr.splitlines()[-1].startswith("tidegate: TIDEGATE_KAFKA_BROKERS is not set")

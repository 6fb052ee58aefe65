"""The broker of the tests is itself what the tests that use it rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from tests.kafka.broker import HERE, Broker
from tests.kafka.fixtures import kafka_settings, need_kafka
from tests.kafka.mock import MockBroker
from tests.waiting import runs, wait_until
from tidegate.kafka import config
from tidegate.settings import Topics


@pytest.fixture(scope="module")
def own() -> Iterator[Broker]:
    """A broker to be stopped and killed."""
    need_kafka()
    with Broker() as running:
        yield running


def write(broker: Broker | MockBroker, topic: str, value: bytes) -> None:
    answers: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": broker.address, "log_level": 0})
    producer.produce(topic, value, on_delivery=lambda error, _: answers.append(error))
    assert producer.flush(30) == 0
    if error := answers[0]:
        raise KafkaException(error)


def read(broker: Broker | MockBroker, topic: str, count: int) -> list[bytes]:
    settings = kafka_settings(broker, Topics(), {"auto.offset.reset": "earliest", "log_level": "0"})
    consumer = Consumer(config.consumer(settings, enable_auto_commit=False))
    consumer.subscribe([topic])
    try:
        found = consumer.consume(count, timeout=30)
    finally:
        consumer.close()
    return sorted(message.value() or b"" for message in found)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_was_written_outlives_a_stop_and_a_crash(own: Broker, end: str) -> None:
    own.create_topic(end)
    address = own.address
    write(own, end, b"before")
    getattr(own, end)()
    own.start()
    assert own.address == address
    write(own, end, b"after")
    assert read(own, end, 2) == [b"after", b"before"]


def test_a_killed_test_process_leaves_no_broker_behind(tmp_path: Path) -> None:
    need_kafka()
    code = "from tests.kafka.broker import Broker\nprint(Broker().start().pid, flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=HERE.parents[1],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not runs(pid), 10.0)


@pytest.mark.parametrize("topics", [2], indirect=True)
def test_topics_are_there_with_as_many_partitions_as_asked_for(
    broker: Broker, topics: Topics
) -> None:
    known = broker.admin().list_topics(timeout=10).topics
    assert [len(known[name].partitions) for name in astuple(topics)] == [2] * 5


def test_a_topic_may_have_a_limit_of_its_own(broker: Broker) -> None:
    broker.create_topic("narrow", max_message_bytes=1000)
    write(broker, "narrow", b"x" * 500)
    with pytest.raises(KafkaException) as caught:
        write(broker, "narrow", b"x" * 2000)
    assert caught.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE


def test_kafkas_own_tools_look_at_it(broker: Broker, topics: Topics) -> None:
    write(broker, topics.labels, b"x")
    told = broker.tool("kafka-get-offsets", "--topic", topics.labels)
    assert sum(int(line.rpartition(":")[2]) for line in told.split()) == 1


def test_the_mock_keeps_what_was_written(mock_broker: MockBroker) -> None:
    mock_broker.create_topic("kept", 1)
    write(mock_broker, "kept", b"x")
    assert read(mock_broker, "kept", 1) == [b"x"]


def test_any_broker_serves_any_topics(any_broker: Broker | MockBroker, any_topics: Topics) -> None:
    write(any_broker, any_topics.alerts, b"x")
    assert read(any_broker, any_topics.alerts, 1) == [b"x"]

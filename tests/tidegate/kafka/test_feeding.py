"""Payments and labels on their way into a real broker."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from tests.dataflows.streams import START, labels, payments, simulated
from tests.kafka.broker import Broker
from tests.kafka.fixtures import kafka_settings
from tidegate import decode
from tidegate.kafka.feeding import feeding
from tidegate.kafka.single import KafkaFailed
from tidegate.schema import MINUTE
from tidegate.settings import Topics


def read(broker: Broker, topic: str, partitions: int = 4) -> list[Message]:
    """All messages, partition after partition."""
    consumer = Consumer(
        {"bootstrap.servers": broker.address, "group.id": "test", "enable.auto.commit": False}
    )
    found: list[Message] = []
    for number in range(partitions):
        place = TopicPartition(topic, number, OFFSET_BEGINNING)
        _, high = consumer.get_watermark_offsets(place, timeout=10)
        consumer.assign([place])
        wanted = len(found) + high  # nothing was deleted or compacted
        while len(found) < wanted:
            found += [m for m in consumer.consume(1000, timeout=0.2) if m.error() is None]
    consumer.close()
    return found


def payload(message: Message) -> bytes:
    value = message.value()
    assert value is not None
    return value


def test_everything_arrives_once_keyed_and_in_the_order_of_its_card(
    broker: Broker, topics: Topics
) -> None:
    batch, told = simulated(2_000, 10, seed=5)
    with feeding(kafka_settings(broker, topics)) as feeder:
        feeder.send(batch, told)
    assert (feeder.payments, feeder.labels) == (len(batch), len(told))

    messages = read(broker, topics.transactions)
    found = decode.transactions([payload(message) for message in messages])
    assert found.bad == []
    assert sorted(found.rows.transaction_id) == sorted(batch.transaction_id)
    assert [message.key() for message in messages] == [c.encode() for c in found.rows.card_token]
    assert len({message.partition() for message in messages}) == 4
    for partition in range(4):
        times = [
            at
            for at, message in zip(found.rows.event_time.tolist(), messages, strict=True)
            if message.partition() == partition
        ]
        assert times == sorted(times)

    messages = read(broker, topics.labels)
    heard = decode.labels([payload(message) for message in messages])
    assert heard.bad == []
    assert sorted(zip(heard.rows.transaction_id, heard.rows.labelled_at, strict=True)) == sorted(
        zip(told.transaction_id, told.labelled_at, strict=True)
    )
    assert [message.key() for message in messages] == [
        name.encode() for name in heard.rows.transaction_id
    ]


@pytest.mark.parametrize("topics", [1], indirect=True)
def test_payments_keep_the_pace_and_labels_go_between_them(broker: Broker, topics: Topics) -> None:
    at = [START + minute * MINUTE for minute in range(10)]
    batch = payments([f"p{minute}" for minute in range(10)], at)
    told = labels([("p1", at[4], True), ("p2", at[7] + 1, True)])
    began, began_at = time.monotonic(), time.time_ns() // 1_000_000
    with feeding(kafka_settings(broker, topics), rate=20) as feeder:
        feeder.send(batch, told)
    assert 0.45 <= time.monotonic() - began < 5
    paid = [message.timestamp()[1] for message in read(broker, topics.transactions, 1)]
    known = [message.timestamp()[1] for message in read(broker, topics.labels, 1)]
    # None before it is due (the two clocks may differ by a little); then as soon as may be.
    assert all(50 * number - 5 <= sent - began_at < 5_000 for number, sent in enumerate(paid))
    # A label at the moment of a payment comes after it, and before the next.
    for label, before in zip(known, (4, 7), strict=True):
        assert paid[before] <= label <= paid[before + 1]


def test_a_message_that_is_not_taken_is_not_passed_over(broker: Broker, topics: Topics) -> None:
    small = Topics(f"{topics.transactions}-small", topics.labels)
    broker.create_topic(small.transactions, 1, max_message_bytes=100)
    try:
        with (
            pytest.raises(KafkaFailed, match=r"^Kafka did not take all messages: .*too large"),
            feeding(kafka_settings(broker, small)) as feeder,
        ):
            feeder.send(payments(["p" * 60], [START]), labels([]))
    finally:
        broker.delete_topics(small.transactions)

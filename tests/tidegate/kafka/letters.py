"""Messages in a real Kafka, and dead letters of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from psycopg import Connection

from tests.api.rows import put_dead_letter
from tidegate.settings import Kafka
from tidegate.store import queries
from tidegate.store.queries import DeadLetter, DeadLetterFilter

PAN = "4111111111111111"
BAD = b'{"transaction_id": "t-1", "card_token": "4111111111111111"} \xff'
GOOD = {
    "transaction_id": "t-1",
    "event_time": "2026-03-01T12:00:00Z",
    "amount_minor": 1250,
    "currency": "EUR",
    "card_token": "card-1",
    "terminal_id": "term-1",
}


@dataclass(frozen=True)
class Written:
    topic: str
    partition: int
    offset: int
    at: datetime


def write(
    kafka: Kafka,
    topic: str,
    value: bytes = BAD,
    *,
    key: bytes | None = b"card-1",
    headers: Sequence[tuple[str, Any]] = (),
    partition: int = 0,
) -> Written:
    """Writes a message as a payment system would."""
    done: list[Message] = []
    producer = Producer({"bootstrap.servers": ",".join(kafka.brokers)})
    producer.produce(
        topic,
        value=value,
        key=key,
        headers=list(headers),
        partition=partition,
        on_delivery=lambda error, message: done.append(message),
    )
    assert producer.flush(20) == 0
    (message,) = done
    assert message.error() is None
    at = datetime.fromtimestamp(message.timestamp()[1] // 1000, UTC)
    at = at.replace(microsecond=message.timestamp()[1] % 1000 * 1000)
    return Written(topic, partition, message.offset() or 0, at)


def letter_of(conn: Connection, message: Written, **given: Any) -> DeadLetter:
    """Stores a dead letter of a message, committed."""
    row = {"topic": message.topic, "partition": message.partition, "at": message.at}
    put_dead_letter(conn, given.pop("offset", message.offset), **(row | given))
    conn.commit()
    (letter,) = queries.dead_letters(conn, DeadLetterFilter(), limit=1)
    conn.rollback()
    return letter


def messages(kafka: Kafka, topic: str, partition: int = 0) -> list[Message]:
    """Everything that is in a partition."""
    consumer = Consumer({"bootstrap.servers": ",".join(kafka.brokers), "group.id": "test"})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
        consumer.assign([TopicPartition(topic, partition, low)])
        found: list[Message] = []
        while len(found) < high - low:
            found += consumer.consume(high - low - len(found), timeout=20)
        return found
    finally:
        consumer.close()


def corrected(**given: Any) -> bytes:
    return json.dumps(GOOD | given).encode()

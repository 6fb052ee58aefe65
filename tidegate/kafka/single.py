"""One message of Kafka at a time: read at its offset, and sent with its delivery acknowledged.

Nothing here joins a consumer group or commits an offset, so a running flow does not notice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from tidegate.kafka import config
from tidegate.settings import Kafka

log = logging.getLogger(__name__)

SECONDS = 10.0  # that any one thing here may take
_ANY = -1  # librdkafka's RD_KAFKA_PARTITION_UA: the partitioner chooses

Headers = list[tuple[str, str | bytes | None]]

_GONE = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.TOPIC_EXCEPTION,
)
_NO_ANSWER = (
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._MSG_TIMED_OUT,
)
# Others' errors are told when time is up: a client tries again, and often succeeds.
_HOPELESS = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
)


class KafkaFailed(RuntimeError):
    """Kafka does not answer, or refuses; one line that holds nothing of a message and names no
    host."""


@dataclass(frozen=True, slots=True)
class Original:
    """A message as it is in its topic."""

    value: bytes | None
    key: bytes | None
    headers: Headers
    at: int | None  # its timestamp in milliseconds since the epoch; None: it has none


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent. partition: None leaves it to the key."""

    topic: str
    partition: int | None
    value: bytes | None
    key: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a message was written."""

    topic: str
    partition: int
    offset: int


class Single:
    """Reads and sends single messages; a context manager. Not for several threads at once.

    seconds: that reading or sending one message may take, 10 unless told.
    """

    def __init__(self, kafka: Kafka, seconds: float = SECONDS) -> None:
        self._kafka = kafka
        self._seconds = seconds
        self._consumer: Consumer | None = None
        self._producer: Producer | None = None
        self._trouble: KafkaError | None = None  # the last one that a client told of

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        ex: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._consumer is not None:
            self._consumer.close()

    def read(self, topic: str, partition: int, offset: int) -> Original | None:
        """The message at an offset; None where there is none (any more). Raises `KafkaFailed`."""
        deadline = time.monotonic() + self._seconds
        consumer = self._reader()
        self._trouble = None
        try:
            place = TopicPartition(topic, partition)
            low, high = consumer.get_watermark_offsets(place, timeout=self._seconds)
            if not low <= offset < high:
                return None
            consumer.assign([TopicPartition(topic, partition, offset)])
            try:
                found = self._message(consumer, topic, partition, deadline)
            finally:
                consumer.unassign()
        except KafkaException as ex:
            error = ex.args[0]
            if error.code() in _GONE:
                return None
            raise self._failed(error) from ex
        # Of a compacted topic, or one with transactions, the next one is given where one is gone.
        if found is None or found.offset() != offset:
            return None
        return _original(found)

    def has(self, topic: str) -> bool:
        """Whether there is such a topic. Raises `KafkaFailed`."""
        try:
            told = self._reader().list_topics(topic, timeout=self._seconds).topics[topic]
        except KafkaException as ex:
            raise self._failed(ex.args[0]) from ex
        if told.error is None:
            return True
        if told.error.code() in _GONE:
            return False
        raise self._failed(told.error)

    def send(self, message: Outgoing) -> Placed:
        """Sends a message, and returns when all in-sync replicas have it.

        Raises `KafkaFailed`; where time was up, the message may have arrived all the same.
        """
        reports: list[tuple[KafkaError | None, Message]] = []
        self._trouble = None
        producer = self._writer()
        # Gone after a failure: nothing that timed out in it may come to life again.
        self._producer = None
        try:
            producer.produce(
                message.topic,
                value=message.value,
                key=message.key,
                headers=message.headers,
                partition=_ANY if message.partition is None else message.partition,
                on_delivery=lambda error, placed: reports.append((error, placed)),
            )
            producer.flush(self._seconds + 1)
        except KafkaException as ex:
            raise self._failed(ex.args[0]) from ex
        error, placed = reports[0] if reports else (KafkaError(KafkaError._MSG_TIMED_OUT), None)
        if error is not None:
            producer.purge()
            failed = self._failed(error)
            if error.code() == KafkaError._MSG_TIMED_OUT:
                failed = KafkaFailed(f"{failed}; the message may have arrived all the same")
            raise failed
        assert placed is not None
        self._producer = producer
        return _placed(placed)

    def _writer(self) -> Producer:
        if self._producer is None:
            needed: dict[str, Any] = {
                "acks": "all",
                "enable_idempotence": True,
                "linger_ms": 0,
                "delivery_timeout_ms": int(self._seconds * 1000),
                "message_max_bytes": 1_000_000_000,  # the broker says what is too large
            }
            told = self._told(config.producer(self._kafka, **needed))
            with _configured():
                self._producer = Producer(told, logger=log)
        return self._producer

    def _reader(self) -> Consumer:
        if self._consumer is None:
            needed: dict[str, Any] = {
                "enable_auto_commit": False,
                "enable_auto_offset_store": False,
                "auto_offset_reset": "error",
                "enable_partition_eof": True,
                "fetch_wait_max_ms": 50,  # else the next question waits behind this one's fetch
                "allow_auto_create_topics": False,
            }
            told = self._told(config.consumer(self._kafka, **needed))
            with _configured():
                self._consumer = Consumer(told, logger=log)
        return self._consumer

    def _told(self, properties: dict[str, Any]) -> dict[str, Any]:
        # What goes wrong is raised as one line, so librdkafka's own are left out.
        return {**properties, "log_level": 0, "error_cb": self._heard}

    def _heard(self, error: KafkaError) -> None:
        self._trouble = error

    def _message(
        self, consumer: Consumer, topic: str, partition: int, deadline: float
    ) -> Message | None:
        """The first message of the partition that comes, None at its end."""
        while (left := deadline - time.monotonic()) > 0:
            found = consumer.poll(min(left, 0.5))
            if found is None:
                if self._trouble is not None and self._trouble.code() in _HOPELESS:
                    raise self._failed(self._trouble)
                continue
            if (found.topic(), found.partition()) != (topic, partition):
                continue  # the end of the one that was read before
            error = found.error()
            if error is None:
                return found
            if error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET, *_GONE):
                return None
            if error.code() in _HOPELESS:
                raise self._failed(error)
            self._trouble = error
        raise KafkaFailed(f"Kafka did not give the message within {self._seconds:g} seconds")

    def _failed(self, error: KafkaError) -> KafkaFailed:
        if self._consumer is not None:
            self._consumer.poll(0)  # lets it tell of trouble: a wrong password only times out
        if self._trouble is not None and self._trouble.code() in _HOPELESS:
            error = self._trouble
        if error.code() in _NO_ANSWER:
            return KafkaFailed(f"Kafka did not answer within {self._seconds:g} seconds")
        # What the code says, not the error itself: that names hosts, and this is for everybody.
        return KafkaFailed(f"Kafka refuses: {KafkaError(error.code()).str()}")


@contextmanager
def _configured() -> Iterator[None]:
    try:
        yield
    except KafkaException as ex:  # its text may hold a value
        log.warning("a Kafka client could not be made: %s", ex.args[0].str())
        raise KafkaFailed("Kafka's client refuses TIDEGATE_KAFKA_CONFIG: the log says why") from ex


def _original(message: Message) -> Original:
    kind, at = message.timestamp()
    headers = message.headers() or []
    assert isinstance(headers, list)  # as confluent_kafka gives them: a name may come repeatedly
    return Original(message.value(), message.key(), headers, at if kind else None)


def _placed(message: Message) -> Placed:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return Placed(topic, partition, offset)

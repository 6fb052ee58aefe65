"""Payments and labels of others sent on to their topics, acknowledged before anybody is told."""

from __future__ import annotations

import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tidegate import tracing
from tidegate.kafka import config
from tidegate.kafka.heard import LIBRDKAFKA
from tidegate.kafka.single import SECONDS, KafkaFailed
from tidegate.settings import Kafka

Keyed = tuple[bytes, bytes]  # a message and the key before it


class Sender:
    """A producer for one thread. Payments are keyed by card and labels by their payment, so what
    is sent of one of them keeps its order."""

    def __init__(self, kafka: Kafka, seconds: float = SECONDS) -> None:
        self._kafka = kafka
        self._topics = kafka.topics
        self._seconds = seconds
        self._failure: KafkaError | None = None
        self._producer = self._made()

    def payments(self, messages: Sequence[Keyed], traces: Sequence[str | None]) -> None:
        """Sends payments; returns when all in-sync replicas have them. traces: the header of the
        context that each goes with, if any. Raises KafkaFailed, where some of them may have arrived
        all the same."""
        self._send(self._topics.transactions, messages, traces)

    def labels(self, messages: Sequence[Keyed]) -> None:
        """Sends labels, as `payments`."""
        self._send(self._topics.labels, messages, [None] * len(messages))

    def _send(self, topic: str, messages: Sequence[Keyed], traces: Sequence[str | None]) -> None:
        if not messages:
            return
        self._failure = None
        deadline = time.monotonic() + self._seconds + 1
        try:
            for (key, message), header in zip(messages, traces, strict=True):
                headers: dict[str, str | bytes | None] = {}
                if header is not None:
                    headers[tracing.HEADER] = header
                self._producer.produce(topic, message, key, headers=headers)
        except (KafkaException, BufferError) as error:
            self._producer.purge()
            raise KafkaFailed("Kafka takes no messages now") from error
        left = self._producer.flush(max(0.0, deadline - time.monotonic()))
        if left:
            self._producer.purge()  # nothing of it may arrive after its sender was told
            self._producer.flush(1)
        if left or self._timed_out():
            # After an outage, librdkafka's client may never come back (its issue 5301).
            self._producer = self._made()
            raise KafkaFailed(f"Kafka did not answer within {self._seconds:g} seconds")
        if self._failure is not None:
            raise KafkaFailed(f"Kafka refuses: {KafkaError(self._failure.code()).str()}")

    def _timed_out(self) -> bool:
        return self._failure is not None and self._failure.code() == KafkaError._MSG_TIMED_OUT

    def _made(self) -> Producer:
        usual = {"linger.ms": "1", "compression.type": "lz4"}
        return Producer(
            {
                **usual,
                **config.producer(
                    self._kafka,
                    enable_idempotence=True,
                    acks="all",
                    delivery_timeout_ms=int(self._seconds * 1000),
                    delivery_report_only_error=True,
                ),
                "on_delivery": self._reported,
            },
            logger=LIBRDKAFKA,
        )

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = error

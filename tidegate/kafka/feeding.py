"""Sends payments and labels in the order in which they become known, as payment systems would.

Payments are keyed by card and labels by their payment, so what is sent of one of them keeps its
order. Every message is acknowledged by all in-sync replicas, or the sender hears that it was not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from tidegate.kafka import config, incoming
from tidegate.kafka.heard import LIBRDKAFKA
from tidegate.kafka.single import KafkaFailed
from tidegate.schema import Batch, Labels
from tidegate.settings import Kafka

_PATIENCE = 60  # seconds in which a message must be acknowledged
_WAIT = 0.1  # seconds between two looks at what went wrong meanwhile


class Feeder:
    """A producer with a pace. rate: payments a second, None for as fast as it goes; labels go
    between the payments they come between."""

    def __init__(self, kafka: Kafka, rate: float | None = None) -> None:
        self.payments = 0
        self.labels = 0
        self._topics = kafka.topics
        self._rate = rate
        self._began: float | None = None
        self._failure: KafkaError | None = None
        usual = {"linger.ms": "5", "compression.type": "lz4"}
        self._producer = Producer(
            {
                **usual,
                **config.producer(
                    kafka,
                    enable_idempotence=True,
                    acks="all",
                    message_timeout_ms=_PATIENCE * 1000,
                    delivery_report_only_error=True,
                ),
                "on_delivery": self._reported,
            },
            logger=LIBRDKAFKA,
        )

    def send(self, batch: Batch, told: Labels) -> None:
        """Hands over payments and labels, merged by time; waits while the pace or the broker asks
        for it. Raises KafkaFailed as soon as any message so far was not taken."""
        keys = [*batch.card_token, *told.transaction_id]
        values = [*incoming.transactions(batch), *incoming.labels(told)]
        # A label at the moment of a payment comes after it.
        order = np.argsort(np.concatenate([batch.event_time, told.labelled_at]), kind="stable")
        for row in order.tolist():
            label = row >= len(batch)
            if not label:
                self._keep_pace()
            self._send(
                self._topics.labels if label else self._topics.transactions,
                keys[row].encode(),
                values[row],
            )
            self.payments += not label
            self.labels += label

    def finish(self) -> None:
        """Returns when everything is acknowledged. Raises KafkaFailed."""
        while self._producer.flush(_WAIT):
            self._raise_failure()
        self._raise_failure()

    def close(self) -> None:
        """Drops what is not sent yet."""
        self._producer.purge()
        self._producer.flush(_WAIT)

    def _send(self, topic: str, key: bytes, value: bytes) -> None:
        while True:
            self._raise_failure()
            try:
                self._producer.produce(topic, value, key)
            except BufferError:  # the broker is slower than we are
                self._producer.poll(_WAIT)
            else:
                self._producer.poll(0)
                return

    def _keep_pace(self) -> None:
        if self._rate is None:
            return
        if self._began is None:
            self._began = time.monotonic()
        due = self._began + self.payments / self._rate
        while (early := due - time.monotonic()) > 0:
            self._producer.poll(min(early, _WAIT))
            self._raise_failure()

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            # What the code says, not the error itself: that may name hosts.
            reason = KafkaError(self._failure.code()).str()
            raise KafkaFailed(f"Kafka did not take all messages: {reason}")


@contextmanager
def feeding(kafka: Kafka, rate: float | None = None) -> Iterator[Feeder]:
    """A feeder; at the end of the `with` block everything is acknowledged, or KafkaFailed raised.
    An error in the block drops what is not sent yet."""
    feeder = Feeder(kafka, rate)
    try:
        yield feeder
        feeder.finish()
    finally:
        feeder.close()

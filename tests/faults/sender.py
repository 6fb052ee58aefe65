"""Sends messages into Kafka at a pace, from a thread, and knows where each of them came to lie."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaError, Producer
from confluent_kafka import Message as Delivered

from tests.faults.messages import Message
from tidegate.settings import Topics


class Sender:
    """A payment system's producer: idempotent, and patient while the broker is away."""

    def __init__(self, address: str, topics: Topics) -> None:
        self._address = address
        self._topics = topics
        self.renew()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.delivered = 0
        self.bad: set[tuple[str, int, int]] = set()  # topic, partition and offset of wrong ones

    def renew(self) -> None:
        """Goes on with another client, now that nothing is under way: one that saw a broker shut
        down may never come back (`dataflows.deaf`)."""
        self._producer = Producer(
            {
                "bootstrap.servers": self._address,
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "linger.ms": 5,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    def start(self, messages: Sequence[Message], pace: float = 0.0) -> None:
        """Sends in the background, so many a second, 0 for as fast as it goes."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(messages, pace), daemon=True)
        self._thread.start()

    def finish(self, seconds: float = 120.0) -> None:
        """Waits until everything that was started is acknowledged."""
        if self._thread is not None:
            self._thread.join(seconds)
            assert not self._thread.is_alive(), f"not sent after {seconds:g} s"
            self._thread = None
        if self._failure is not None:
            raise self._failure

    def send(self, messages: Sequence[Message]) -> None:
        """Sends as fast as it goes; returns when all is acknowledged."""
        self.start(messages)
        self.finish()

    @property
    def sending(self) -> bool:
        """Whether there is more to send or to be acknowledged."""
        return self._thread is not None and self._thread.is_alive()

    def close(self) -> None:
        """Ends the thread, wherever it is."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)
        self._producer.purge()
        self._producer.flush(0)

    def _run(self, messages: Sequence[Message], pace: float) -> None:
        try:
            began = time.monotonic()
            for number, message in enumerate(messages):
                while pace and number >= (time.monotonic() - began) * pace:
                    if self._stop.wait(0.005):
                        return
                    self._producer.poll(0)
                if self._stop.is_set():
                    return
                self._produce(message)
            while self._producer.flush(0.1):
                if self._stop.is_set():
                    return
        except BaseException as error:
            self._failure = error

    def _produce(self, message: Message) -> None:
        topic = self._topics.labels if message.labels else self._topics.transactions

        def reported(error: KafkaError | None, delivered: Delivered) -> None:
            if error is not None:
                self._failure = AssertionError(f"{topic}: {error.str()}")
                return
            self.delivered += 1
            if message.bad:
                place: Any = (topic, delivered.partition(), delivered.offset())
                self.bad.add(place)

        while True:
            try:
                self._producer.produce(topic, message.value, message.key, on_delivery=reported)
                self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.1)
                if self._stop.is_set():
                    return

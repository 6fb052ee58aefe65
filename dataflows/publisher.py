"""Sends what is stored to Kafka. Nothing is lost: a snapshot waits until all is acknowledged.

Messages are sent in the background and tried until a broker takes them. While none does, the
producer's own queue fills, `publish` waits, and with it the sink and the sources. A message that a
broker refuses for good, as one that is too large, becomes a dead letter.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from math import inf

import msgspec
import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from dataflows import deaf
from dataflows.deaf import Deafness
from dataflows.messages import Envelope
from tidegate import metrics
from tidegate.kafka import config, outgoing
from tidegate.kafka.heard import LIBRDKAFKA
from tidegate.kafka.outgoing import Stored
from tidegate.redaction import redact
from tidegate.schema import DeadLetters, Reason, texts, to_micros
from tidegate.settings import Kafka
from tidegate.store.decisions import alert_id

log = logging.getLogger(__name__)

MOST_QUEUED = 50_000  # messages that no broker has acknowledged; beyond, `publish` waits

_WAIT = 0.1  # seconds between two looks at what went wrong meanwhile
_PATIENCE = 5.0  # seconds without any acknowledgement after which it is said that Kafka is slow
_REMIND = 30.0  # seconds between two lines about it
_AGAIN = 1.0  # seconds between two questions whether Kafka is away, or only this client of it

# What a broker will never take, however often it is asked.
_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.POLICY_VIOLATION,
    }
)


class PublishFailed(RuntimeError):
    """Decisions cannot be sent, and will not be by waiting; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """A message on its way; `alone` when no other is in its batch."""

    topic: str
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes | None]] | None
    alone: bool = False


class Publisher:
    """The producer of a process. `publish` and `flush` may be called from different threads."""

    def __init__(self, kafka: Kafka) -> None:
        self._topics = kafka.topics
        self._lock = threading.Lock()
        self._refused: list[tuple[str, bytes, str]] = []  # topic, value, why
        self._apart: list[_Sent] = []  # to be sent again, each by itself
        self._failure: PublishFailed | None = None
        self._closed = False
        self._waiting = _Waiting()
        self._deafness = Deafness(kafka)
        self._asking: threading.Thread | None = None
        self._asked = 0.0
        usual = {"linger.ms": "1", "compression.type": "lz4"}
        self._producer = Producer(
            {
                **usual,
                **config.producer(
                    kafka,
                    enable_idempotence=True,
                    acks="all",
                    message_timeout_ms=0,  # never: an outage is waited out
                    delivery_report_only_error=True,
                    queue_buffering_max_messages=MOST_QUEUED,
                ),
            },
            logger=LIBRDKAFKA,
        )

    def publish(self, decisions: Iterable[Stored], envelope: Envelope | None) -> None:
        """Sends decisions in the envelopes of their payments, and the alerts of those that are not
        approved. Raises PublishFailed."""
        sent = alerts = 0
        for row, stored in enumerate(decisions):
            key, headers = None, None
            if envelope is not None:
                key, headers = envelope.key[row], envelope.headers[row]
            # Without a key of the payment's own, its id keeps repeats in one partition.
            key = key if key is not None else stored.transaction_id.encode()
            self._send(_Sent(self._topics.decisions, key, outgoing.decision(stored), headers))
            sent += 1
            if stored.decision != "approve":
                name = alert_id(stored.transaction_id)
                value = outgoing.alert(stored, name)
                self._send(_Sent(self._topics.alerts, str(name).encode(), value, headers))
                alerts += 1
        self._producer.poll(0)  # takes in what was reported
        metrics.PUBLISHED.labels("decision").inc(sent)
        metrics.PUBLISHED.labels("alert").inc(alerts)

    def bury(self, dead: DeadLetters) -> None:
        """Sends dead letters. Raises PublishFailed."""
        for key, value in outgoing.dead_letters(dead):
            self._send(_Sent(self._topics.dead_letters, key.encode(), value, None))
        self._producer.poll(0)
        metrics.PUBLISHED.labels("dead_letter").inc(len(dead))

    def flush(self) -> None:
        """Waits until everything sent is acknowledged or refused. Raises PublishFailed."""
        self._drain()
        while True:
            with self._lock:
                apart, self._apart = self._apart, []
            if not apart:
                return
            log.warning(
                "Kafka refused batches of %d messages for %s as too large; each is sent by itself. "
                "A smaller batch.size in TIDEGATE_KAFKA_CONFIG spares the detour",
                len(apart),
                ", ".join(sorted({sent.topic for sent in apart})),
            )
            for sent in apart:
                self._send(replace(sent, alone=True))
                self._drain()

    def away(self) -> str | None:
        """For how long Kafka has acknowledged nothing that was sent, in words; None if it does."""
        return self._waiting.told

    def _drain(self) -> None:
        while left := self._producer.flush(_WAIT):
            self._look(left)
            self._raise_failure()
        self._waiting.over()
        self._raise_failure()

    def refused(self) -> DeadLetters | None:
        """What was refused since the last call."""
        with self._lock:
            refused, self._refused = self._refused, []
        return _letters(refused) if refused else None

    def give_up(self) -> None:
        """From now on `publish` waits for no broker: the flow has ended, and what it promised is
        acknowledged, or will be sent again by the next start."""
        self._closed = True

    def close(self) -> None:
        """Sends what is queued if that goes at once."""
        self.give_up()
        self._producer.flush(_WAIT)

    def _send(self, sent: _Sent) -> None:
        headers = sent.headers
        waited = False
        while True:
            self._raise_failure()
            try:
                self._producer.produce(
                    sent.topic,
                    sent.value,
                    sent.key,
                    headers=None if headers is None else [(n, v) for n, v in headers],
                    on_delivery=partial(self._reported, sent),
                )
            except BufferError:
                if self._closed:
                    raise PublishFailed("stopped while no Kafka broker takes messages") from None
                waited = True
                self._producer.poll(_WAIT)
                self._look(len(self._producer))
            except KafkaException as error:
                self._failed(error.args[0], replace(sent, alone=True))
                return
            else:
                if waited:
                    self._waiting.over()
                return

    def _look(self, left: int) -> None:
        seconds = self._waiting.look(left)
        if seconds < deaf.STUCK:
            self._deafness.answered()
            return
        with self._lock:
            busy = self._asking is not None and self._asking.is_alive()
            if busy or time.monotonic() - self._asked < _AGAIN:
                return
            # In a thread of its own, so that what is acknowledged meanwhile is seen at once.
            self._asked = time.monotonic()
            self._asking = threading.Thread(target=self._ask, args=(seconds,), daemon=True)
            self._asking.start()

    def _ask(self, seconds: float) -> None:
        """Brokers may answer and still take nothing, while too few of them are in sync."""
        try:
            self._producer.list_topics(self._topics.decisions, timeout=_AGAIN)
        except KafkaException:
            self._deafness.unanswered(seconds)
        else:
            self._deafness.answered()

    def _reported(self, sent: _Sent, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed(error, sent)

    def _failed(self, error: KafkaError, sent: _Sent) -> None:
        if error.code() not in _REFUSED:
            why = f"Kafka does not take messages for {sent.topic}: {error.str()}"
            self._failure = PublishFailed(why)
        elif not sent.alone:
            # What is refused is a batch: perhaps for its size, perhaps for one message in it.
            with self._lock:
                self._apart.append(sent)
        elif sent.topic == self._topics.dead_letters:
            log.error("Kafka refused a dead letter, which the database has: %s", error.str())
        else:
            with self._lock:
                self._refused.append((sent.topic, sent.value, error.str()))

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


class _Waiting:
    """Whether messages are acknowledged while somebody waits for it, and for how long not."""

    def __init__(self) -> None:
        self.told: str | None = None
        self._least = inf
        self._since = self._said = time.monotonic()

    def over(self) -> None:
        """What was waited for has come."""
        self._least, self._since, self.told = inf, time.monotonic(), None

    def look(self, left: int) -> float:
        """For how many seconds there was no progress now. left: messages that are not acknowledged,
        and whatever else librdkafka counts with them: what it has to say of a broker comes and
        goes, so only fewer than ever are progress.
        """
        now = time.monotonic()
        if left < self._least:
            self._least, self._since, self.told = left, now, None
            return 0.0
        seconds = now - self._since
        if seconds >= _PATIENCE:
            self.told = f"Kafka acknowledges none of {left} messages, for {seconds:.0f} s now"
            if self._said < self._since or now - self._said >= _REMIND:
                self._said = now
                log.warning("%s; waiting", self.told)
        return seconds


def _letters(refused: Sequence[tuple[str, bytes, str]]) -> DeadLetters:
    """A dead letter for each. They have no place in a topic, so their ids stand for the offset:
    the same message refused again is the same letter."""
    messages = [
        msgspec.json.decode(value, type=outgoing.DecisionMessage) for _, value, _ in refused
    ]
    count = len(refused)
    return DeadLetters(
        texts([topic for topic, _, _ in refused]),
        np.full(count, -1, np.int64),
        np.array([_number(message.transaction_id) for message in messages], np.int64),
        np.array([to_micros(message.event_time) for message in messages], np.int64),
        texts([str(Reason.REFUSED)] * count),
        texts([None] * count),
        texts([f"Kafka refused the message: {why}" for _, _, why in refused]),
        texts([redact(value) for _, value, _ in refused]),
    )


def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") >> 1

"""Looks after the brokers from a thread of its own: who is there, which partitions there are, and
where to begin reading each. Nothing here is in the way of a message."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from dataflows.deaf import Deafness
from dataflows.live.pieces import Kind
from tidegate import metrics

log = logging.getLogger(__name__)

EVERY = 5.0  # seconds between two looks
_PATIENCE = 5.0  # seconds that a broker has to answer
_AGAIN = 1.0  # seconds to the next look while none answers
_REMIND = 30.0  # seconds between two lines about brokers that stay away


class OffsetsAhead(RuntimeError):
    """The recovery store has read further than the topic goes: it is another topic."""


class TopicGone(RuntimeError):
    """A topic is not there, or may not be read."""


@dataclass(frozen=True)
class Found:
    """A partition that a slot is to read from now on, and from where."""

    kind: Kind
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class SlotState:
    """A slot and the offsets that its snapshot holds; None on a first start."""

    number: int
    offsets: Mapping[str, Mapping[int, int]] | None


class Watch:
    """Finds partitions for the slots of this process.

    start: where partitions are read from that were there at the first start: earliest, latest, or
    a time (RFC 3339). Those found later are read from their beginning.
    """

    def __init__(
        self,
        consumer: Consumer,
        topics: Mapping[Kind, str],
        slots: int,
        start: str,
        on_found: Callable[[int, list[Found]], None],
        deafness: Deafness,
    ) -> None:
        self._consumer = consumer
        self._topics = topics
        self._slots = slots
        self._start = start
        self._on_found = on_found
        self._deafness = deafness
        self._lock = threading.Lock()
        self._states: dict[int, SlotState] = {}
        self._known: dict[int, set[tuple[str, int]]] = {}
        self._lost: list[Found] = []
        self._closed = threading.Event()
        self._wake = threading.Event()
        self._away_since: float | None = None
        self._said = 0.0
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tidegate-kafka", daemon=True)

    def open(self, state: SlotState) -> None:
        """A slot is to be looked after."""
        with self._lock:
            self._states[state.number] = state
        if not self._thread.is_alive() and not self._closed.is_set():
            self._thread.start()
        self._wake.set()

    def away(self) -> float:
        """For how many seconds no broker has answered; 0 when one does."""
        since = self._away_since
        return 0.0 if since is None else time.monotonic() - since

    def lost(self, kind: Kind, topic: str, partition: int, offset: int) -> None:
        """The broker does not have the offset any more, or not yet: the partition is found again
        with one that it has."""
        with self._lock:
            self._lost.append(Found(kind, topic, partition, offset))
        self._wake.set()

    def _reset(self, topic: str, partition: int, offset: int, low: int, high: int) -> int:
        """The nearest offset that there is."""
        chosen = min(max(offset, low), high)
        metrics.KAFKA_SKIPPED.labels(topic).inc(max(0, chosen - offset))
        log.error(
            "%s partition %d holds messages %d to %d, and %d was to be read next: goes on at %d; "
            "what is missing was deleted before it was read",
            topic, partition, low, high - 1, offset, chosen,
        )  # fmt: skip
        return chosen

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(2 * _PATIENCE)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._look()
            except KafkaException as error:
                self._nobody(error)
            except BaseException as error:
                self.failure = error
                return
            else:
                self._answered()
            self._wake.wait(EVERY if self._away_since is None else _AGAIN)
            self._wake.clear()

    def _look(self) -> None:
        counts = {kind: self._count(topic) for kind, topic in self._topics.items()}
        with self._lock:
            states = list(self._states.values())
        while self._lost:
            f = self._lost[0]
            offset = self._reset(f.topic, f.partition, f.offset, *self._marks(f.topic, f.partition))
            self._on_found(f.partition % self._slots, [replace(f, offset=offset)])
            del self._lost[0]
        for state in states:
            first = state.number not in self._known
            known = self._known.get(state.number, set())
            found = []
            for kind, topic in self._topics.items():
                for partition in range(state.number, counts[kind], self._slots):
                    if (topic, partition) not in known:
                        offset = self._offset(state, topic, partition, first)
                        found.append(Found(kind, topic, partition, offset))
            if found or first:
                self._known[state.number] = known | {(f.topic, f.partition) for f in found}
                self._on_found(state.number, found)

    def _count(self, topic: str) -> int:
        found = self._consumer.list_topics(topic, timeout=_PATIENCE).topics[topic]
        if found.error is None:
            return len(found.partitions)
        if found.error.code() in (
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
        ):
            raise TopicGone(f"the topic {topic} cannot be read: {found.error.str()}")
        raise KafkaException(found.error)  # such as no leader just now

    def _offset(self, state: SlotState, topic: str, partition: int, first: bool) -> int:
        saved = None if state.offsets is None else state.offsets.get(topic, {}).get(partition)
        low, high = self._marks(topic, partition)
        if saved is not None:
            if saved > high:
                raise OffsetsAhead(
                    f"the recovery store has read {topic} partition {partition} up to offset "
                    f"{saved}, and it ends at {high}: this is another topic. Name the one that "
                    "was read, or move the recovery store away to start without it"
                )
            return self._reset(topic, partition, saved, low, high) if saved < low else saved
        if state.offsets is not None or not first or self._start == "earliest":
            return low
        if self._start == "latest":
            return high
        at = round(datetime.fromisoformat(self._start).timestamp() * 1000)
        asked = [TopicPartition(topic, partition, at)]
        (answer,) = self._consumer.offsets_for_times(asked, timeout=_PATIENCE)
        if answer.error is not None:
            raise KafkaException(answer.error)
        return high if answer.offset < 0 else int(answer.offset)

    def _marks(self, topic: str, partition: int) -> tuple[int, int]:
        place = TopicPartition(topic, partition, OFFSET_BEGINNING)
        marks = self._consumer.get_watermark_offsets(place, timeout=_PATIENCE)
        if marks is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return int(marks[0]), int(marks[1])

    def _nobody(self, error: KafkaException) -> None:
        now = time.monotonic()
        metrics.KAFKA_REACHABLE.set(0)  # first: who reads "away" finds the metric saying so
        if self._away_since is None:
            self._away_since = now
        self._deafness.unanswered(now - self._away_since)
        if self._said == 0.0 or now - self._said >= _REMIND:
            self._said = now
            log.warning(
                "Kafka does not answer as it should, for %.0f s now; waiting: %s",
                now - self._away_since,
                error.args[0].str(),
            )

    def _answered(self) -> None:
        metrics.KAFKA_REACHABLE.set(1)
        self._deafness.answered()
        if self._away_since is not None:
            log.info("Kafka answers again after %.0f s", time.monotonic() - self._away_since)
        self._away_since, self._said = None, 0.0

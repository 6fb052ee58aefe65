"""The one Kafka consumer of a process, shared by its slots; it never blocks them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from dataflows.deaf import Deafness
from dataflows.live import decoding
from dataflows.live.ending import ended
from dataflows.live.landing import Landing, show
from dataflows.live.lines import MOST_FETCHED, Line
from dataflows.live.pieces import Kind, Piece, Report
from dataflows.live.watch import Found, SlotState, TopicGone, Watch
from dataflows.store import History
from tidegate.kafka import config
from tidegate.kafka.heard import LIBRDKAFKA
from tidegate.settings import Kafka

log = logging.getLogger(__name__)

_AT_ONCE = 4096  # messages taken from librdkafka at a time
_PAUSE = 0.001  # seconds between two times
_ENDING = 1.0  # seconds that the last commit may take, which a change of machines waits for
_ROOM = 131_072  # messages of one kind that a process may have under way, shared by its partitions
_LEAST_ROOM = 4096  # of one partition

Offsets = Mapping[str, Mapping[int, int]]  # by topic and partition


class Reader:
    """Reads the partitions of the slots that were opened here. Call it from one thread."""

    def __init__(self, kafka: Kafka, history: History) -> None:
        topics = {Kind.PAYMENTS: kafka.topics.transactions, Kind.LABELS: kafka.topics.labels}
        self._landing = Landing(history)
        self._consumer = Consumer(
            config.consumer(
                kafka,
                enable_auto_commit=False,
                enable_auto_offset_store=False,
                enable_partition_eof=True,
                auto_offset_reset="error",
                queued_min_messages=10_000,
                queued_max_messages_kbytes=16_384,
            ),
            logger=LIBRDKAFKA,
        )
        self._watch = Watch(
            self._consumer,
            topics,
            kafka.slots,
            kafka.start,
            self._found,
            Deafness(kafka),
        )
        self._lock = threading.Lock()
        self._new: list[tuple[int, list[Found]]] = []  # from the watch's thread
        self._lines: dict[int, list[Line]] = {}
        self._by_place: dict[tuple[str, int], Line] = {}
        self._reports: dict[int, Report] = {}
        self._turn = 0
        self._polled = 0.0

    def open(self, slot: int, offsets: Offsets | None) -> None:
        """A slot begins, with the offsets of its snapshot."""
        self._lines[slot] = []
        self._watch.open(SlotState(slot, offsets))

    def take(self, slot: int) -> list[Piece | Report]:
        """What there is for the slot. Raises what the slots cannot go on from."""
        self._poll()
        taken: list[Piece | Report] = []
        if (report := self._reports.pop(slot, None)) is not None:
            taken.append(report)
        for line in self._lines[slot]:
            taken.extend(line.take())
        return taken

    def active(self, slot: int) -> bool:
        """Whether the slot has partitions to read."""
        return bool(self._lines[slot])

    def offsets(self, slot: int) -> dict[str, dict[int, int]]:
        """Where each partition of the slot goes on, for a snapshot."""
        return _handed(self._lines[slot])

    def commit(self, offsets: Offsets, *, wait: bool = False) -> None:
        """Commits offsets for the group. Only tools look at them: what is resumed from is in the
        snapshots, so a commit that fails is worth no more than a line."""
        places = [
            TopicPartition(topic, partition, offset)
            for topic, partitions in offsets.items()
            for partition, offset in partitions.items()
        ]
        if not places:
            return
        try:
            if wait:
                self._consumer.commit(offsets=places, asynchronous=False)
            else:
                self._consumer.commit(offsets=places)
        except KafkaException as error:
            log.warning("group offsets were not committed: %s", error.args[0].str())

    def away(self) -> str | None:
        """For how long Kafka has not answered, in words; None when it does."""
        seconds = self._watch.away()
        return f"Kafka does not answer, for {seconds:.0f} s now" if seconds else None

    def close(self, *, clean: bool) -> None:
        """Ends. clean: everything handed on is in a snapshot, so that the group may know it."""
        self._watch.close()
        # Both wait for the group's coordinator, however long it is away; nothing depends on them.
        ending = threading.Thread(target=self._end, args=(clean,), daemon=True)
        ending.start()
        ending.join(_ENDING)
        if ending.is_alive():
            log.warning("Kafka does not answer: the group's last offsets may not be committed")

    def _end(self, clean: bool) -> None:
        if clean:
            # At once: each commit is a trip that a change of machines waits for.
            self.commit(_handed(self._by_place.values()), wait=True)
        self._consumer.close()

    def _found(self, slot: int, found: list[Found]) -> None:
        with self._lock:
            self._new.append((slot, found))

    def _poll(self) -> None:
        now = time.monotonic()
        if now - self._polled < _PAUSE:
            return
        self._polled = now
        if self._watch.failure is not None:
            raise self._watch.failure
        self._adopt()
        if self._by_place:
            for message in self._consumer.consume(_AT_ONCE, timeout=0):
                self._arrived(message)
        if self._landing.hear(self._by_place.values()):
            self._show_lag()
        self._decode()

    def _decode(self) -> None:
        """Decodes what was fetched, of many partitions at once but not too much at a time."""
        lines = list(self._by_place.values())
        self._turn += 1
        found: list[tuple[Line, decoding.Read]] = []
        messages = 0
        for number in range(len(lines)):
            line = lines[(self._turn + number) % len(lines)]
            if messages < _AT_ONCE and (read := line.read(self._high(line))) is not None:
                found.append((line, read))
                messages += len(read.messages)
        for (line, _), piece in zip(found, decoding.pieces([r for _, r in found]), strict=True):
            line.ready.append(piece)
        for line in lines:
            if line.paused and len(line.fetched) < MOST_FETCHED // 2:
                self._consumer.resume([TopicPartition(*line.place)])
                line.paused = False

    def _adopt(self) -> None:
        """Begins to read partitions that the watch found."""
        if not self._new:
            return
        with self._lock:
            new, self._new = self._new, []
        for slot, found in new:
            for f in found:
                line = self._by_place.get((f.topic, f.partition))
                if line is not None:  # it was lost, and is read again from where there is something
                    line.goes_on_at(f.offset)
                    continue
                line = Line(f.kind, f.topic, f.partition, f.offset, _ROOM)
                self._lines[slot].append(line)
                self._by_place[line.place] = line
            places = tuple((line.kind, line.topic, line.partition) for line in self._lines[slot])
            self._reports[slot] = Report(slot, places)
            for line in self._lines[slot]:
                line.told_end = False  # who hears a report anew forgets what was told before
            if found:
                self._consumer.incremental_assign(
                    [TopicPartition(f.topic, f.partition, f.offset) for f in found]
                )
        for kind in Kind:
            lines = [line for line in self._by_place.values() if line.kind is kind]
            for line in lines:
                line.room = max(_LEAST_ROOM, _ROOM // len(lines))

    def _arrived(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            self._failed(error, message)
            return
        line = self._by_place[str(message.topic()), int(message.partition() or 0)]
        line.arrived(message)
        if len(line.fetched) > MOST_FETCHED and not line.paused:
            self._consumer.pause([TopicPartition(*line.place)])
            line.paused = True

    def _failed(self, error: KafkaError, message: Message) -> None:
        place = str(message.topic()), int(message.partition() or 0)
        line = self._by_place.get(place)
        code = error.code()
        if code == KafkaError._PARTITION_EOF and line is not None:
            line.ended(int(message.offset() or 0))
        elif code == KafkaError._AUTO_OFFSET_RESET and line is not None:
            self._consumer.incremental_unassign([TopicPartition(*place)])
            self._watch.lost(line.kind, *place, line.position)
        elif code in (
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError._UNKNOWN_TOPIC,
            KafkaError._UNKNOWN_PARTITION,
        ):
            raise TopicGone(f"the topic {place[0]} cannot be read: {error.str()}")
        else:
            log.warning("Kafka: %s", error.str())  # it is tried again by itself

    def _high(self, line: Line) -> int:
        _, high = self._consumer.get_watermark_offsets(TopicPartition(*line.place), cached=True)
        return int(high)

    def _show_lag(self) -> None:
        for line in self._by_place.values():
            if (high := self._high(line)) >= 0:
                show(line, max(0, high - line.undecided), line.oldest)


def reading(kafka: Kafka, history: History) -> AbstractContextManager[Reader]:
    """A reader, closed at the end: cleanly if the flow ended well, and only then is what it handed
    on known to the group."""
    return ended(Reader(kafka, history))


def _handed(lines: Iterable[Line]) -> dict[str, dict[int, int]]:
    """Where each goes on."""
    found: dict[str, dict[int, int]] = {}
    for line in lines:
        found.setdefault(line.topic, {})[line.partition] = line.handed
    return found

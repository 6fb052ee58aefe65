"""One Kafka partition as a slot reads it: what is fetched, what is handed on, what has landed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from dataflows.live import decoding
from dataflows.live.pieces import Kind, Piece
from dataflows.messages import Marks

MOST_ROWS = 4096  # messages of one piece
MOST_FETCHED = 16_384  # messages fetched and not handed on; beyond, the partition is paused


T = TypeVar("T")


def waited(first: Message | None, now: float) -> float:
    """For how many seconds (now: Unix time) the message has been there; 0 when there is none."""
    if first is None:
        return 0.0
    kind, at = first.timestamp()
    return 0.0 if kind == TIMESTAMP_NOT_AVAILABLE else max(0.0, now - at / 1000)


def first(waiting: Sequence[T]) -> T | None:
    """The first of them, if there is one."""
    try:
        return waiting[0]
    except IndexError:  # a check before could be overtaken by the thread that reads
        return None


@dataclass(frozen=True, slots=True)
class _Flying:
    """Messages that were decoded at once and have not landed."""

    first: Message
    next_offset: int
    count: int


@dataclass
class Line:
    """A partition of one of the two topics that are read.

    next_offset: of the next message to decode; handed: of the next one to hand on; room: messages
    that may be decoded and not have landed, that is be decided and stored, beyond which the line
    waits.
    """

    kind: Kind
    topic: str
    partition: int
    next_offset: int
    room: int
    fetched: deque[Message] = field(default_factory=deque)
    paused: bool = False
    ended_at: int | None = None  # where the broker said that there is nothing more
    told_end: bool = False  # what the last piece said of it
    ready: list[Piece] = field(default_factory=list)  # decoded and not handed on
    handed: int = field(init=False)
    _flying: deque[_Flying] = field(default_factory=deque)
    _in_flight: int = 0
    _told: int = field(init=False)  # the next offset of the last piece that was handed on
    _landed: int = field(init=False)  # as last heard

    def __post_init__(self) -> None:
        self.handed = self._told = self._landed = self.next_offset

    @property
    def place(self) -> tuple[str, int]:
        """Topic and partition."""
        return self.topic, self.partition

    @property
    def position(self) -> int:
        """The offset of the next message to fetch, as far as messages tell."""
        return int(self.fetched[-1].offset() or 0) + 1 if self.fetched else self.next_offset

    @property
    def crowded(self) -> bool:
        """Whether it matters how much has landed."""
        return self._in_flight > self.room // 2

    @property
    def undecided(self) -> int:
        """The offset from which on messages wait to land."""
        # Where all that was told of has landed, what the broker left out has too.
        return self.handed if self._landed >= self._told else self._landed

    @property
    def oldest(self) -> Message | None:
        """The first that was fetched here and has not landed."""
        flying = first(self._flying)
        return first(self.fetched) if flying is None else flying.first

    def arrived(self, message: Message) -> None:
        """A message was fetched."""
        self.fetched.append(message)
        self.ended_at = None

    def ended(self, offset: int) -> None:
        """The broker says that there is nothing more; what it left out, as it was not committed,
        takes offsets too."""
        self.ended_at = offset
        if not self.fetched:
            self._skip_to(max(self.next_offset, offset))

    def goes_on_at(self, offset: int) -> None:
        """Reading goes on elsewhere, as the broker lost what was to be read next."""
        self.ended_at = None
        if not self.fetched:
            self._skip_to(offset)

    def _skip_to(self, offset: int) -> None:
        self.next_offset = offset
        if not self.ready:
            self.handed = offset

    def hear(self, marks: Marks) -> None:
        """Up to which offset everything is in the store, if that is known yet."""
        if (offset := marks.get(self.place)) is None:
            return
        self._landed = offset
        while self._flying and self._flying[0].next_offset <= offset:
            self._in_flight -= self._flying.popleft().count

    def read(self, high: int) -> decoding.Read | None:
        """The next messages to decode, None when there are none; that the partition has come to
        its end is told by itself if need be. high: the partition's high watermark as last fetched,
        below 0 when it is not known yet."""
        count = min(len(self.fetched), MOST_ROWS, self.room - self._in_flight)
        if count <= 0:
            at_end = not self.fetched and self._at_end(high)
            if at_end != self.told_end:
                self.told_end = at_end
                self.ready.append(
                    decoding.nothing(self.kind, *self.place, self.next_offset, at_end)
                )
            return None
        messages = [self.fetched.popleft() for _ in range(count)]
        self.next_offset = int(messages[-1].offset() or 0) + 1
        if not self.fetched and self.ended_at is not None:
            self.next_offset = max(self.next_offset, self.ended_at)
        self.told_end = not self.fetched and self._at_end(high)
        self._flying.append(_Flying(messages[0], self.next_offset, count))
        self._in_flight += count
        return decoding.Read(self.kind, *self.place, messages, self.next_offset, self.told_end)

    def take(self) -> list[Piece]:
        """What is ready, which is handed on with that."""
        ready, self.ready = self.ready, []
        if ready:
            self.handed = self._told = ready[-1].next_offset
        return ready

    def _at_end(self, high: int) -> bool:
        # Records of transactions take offsets too, so only the broker's own word tells for sure;
        # the watermark comes with the messages and tells sooner.
        return self.ended_at is not None or 0 <= high <= self.next_offset

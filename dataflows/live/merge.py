"""Many Kafka partitions as one stream in order of time, without waiting for a quiet one.

A partition that has a backlog holds the others back until it has come as far as they have: read
one after the other, days of one would come before the same days of the next, and a terminal's
payments with them. A partition that is at its end holds nobody back. What is fresh by the wall
clock holds for nobody either, once all before it in its own partition has gone: a payment that
somebody waits for is not delayed by a backlog elsewhere.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dataflows.live.pieces import Kind, Piece, Report, piece_of, plain
from dataflows.messages import Marks, Origin
from tidegate.schema import MINUTE, SECOND, DeadLetters, Ints

FRESH = 5 * MINUTE  # microseconds: younger payments and labels wait for no other partition
SILENCE = 30.0  # seconds after which a partition that says nothing holds no payment back

ALWAYS = 2**62  # a time after all others
NEVER = -(2**62)  # one before all others


@dataclass
class _Place:
    """One partition: what was read of it and not taken yet."""

    kind: Kind
    pieces: deque[tuple[Piece, Ints]] = field(default_factory=deque)  # with their keys
    row: int = 0  # rows of the first piece that are taken
    frontier: int = NEVER  # the time up to which it was read
    at_end: bool = False
    heard: float = 0.0  # when it last said anything, by the monotonic clock
    mark: int | None = None  # the offset of the next message to be taken, as last told

    def add(self, piece: Piece) -> None:
        keys = np.maximum.accumulate(np.maximum(piece.time, self.frontier))
        if len(keys):
            self.frontier = int(keys[-1])
        self.at_end, self.heard = piece.at_end, time.monotonic()
        self.pieces.append((piece, keys))

    @property
    def next_offset(self) -> int | None:
        """The offset of the next row's message, if there is one."""
        if not self.pieces:
            return None
        origin = self.pieces[0][0].origin
        assert origin is not None
        return int(origin.offset[self.row])

    def head(self) -> int:
        """The key of the next row, ALWAYS when there is none."""
        for place, (_, keys) in enumerate(self.pieces):
            start = self.row if place == 0 else 0
            if start < len(keys):
                return int(keys[start])
        return ALWAYS


@dataclass(frozen=True)
class Taken:
    """Rows in order of time, of all partitions of a kind. received: the earliest."""

    rows: Any  # Batch or Labels
    origin: Origin
    received: float


@dataclass(frozen=True)
class Bounds:
    """What may go. payments, labels: everything up to these times; fresh: everything from this
    time on. All microseconds."""

    payments: int
    labels: int
    fresh: int

    def of(self, kind: Kind) -> int:
        """The time up to which rows of a kind may go."""
        return self.payments if kind is Kind.PAYMENTS else self.labels


class Merge:
    """The partitions of both kinds. Nothing goes before every one of `slots` has reported, as
    until then nobody knows who has a backlog."""

    def __init__(self, slots: int) -> None:
        self._missing = set(range(slots))
        self._places: dict[tuple[str, int], _Place] = {}
        self._dead: list[DeadLetters] = []
        self._marks: dict[tuple[str, int], int] = {}

    def report(self, report: Report) -> None:
        """A slot says which partitions it reads."""
        self._missing.discard(report.slot)
        for kind, topic, partition in report.places:
            place = self._places.setdefault((topic, partition), _Place(kind))
            place.at_end, place.heard = False, time.monotonic()

    def add(self, piece: Piece) -> None:
        """Takes in what was read."""
        place = self._places.setdefault(piece.place, _Place(piece.kind))
        place.add(piece)
        if piece.dead is not None:
            self._dead.append(piece.dead)
        self._settle(piece.place, place)

    def bounds(self) -> Bounds:
        """What may go now."""
        if self._missing:
            return Bounds(NEVER, NEVER, ALWAYS)
        silent = time.monotonic() - SILENCE
        behind = [place for place in self._places.values() if not place.at_end]
        return Bounds(
            min((place.frontier for place in behind if place.heard >= silent), default=ALWAYS),
            # A label, and the stream's time, never overtake a backlog, however long it is silent:
            # payments would mature before they come.
            min((place.frontier for place in behind), default=ALWAYS),
            int(time.time() * SECOND) - FRESH,
        )

    def head(self, kind: Kind, bounds: Bounds) -> int | None:
        """The time of the next row of this kind that may go, None when there is none."""
        heads = [key for place in self._of(kind) if (key := place.head()) < ALWAYS]
        bound = bounds.of(kind)
        return min((key for key in heads if key <= bound or key >= bounds.fresh), default=None)

    def take(self, kind: Kind, bounds: Bounds, before: int, most: int) -> Taken | None:
        """Up to `most` rows that may go, in order, with times below `before`."""
        parts: list[tuple[_Place, Piece, int, Ints]] = []
        for place in self._of(kind):
            parts.extend(_runs(place, bounds, before, most))
        if not parts:
            return None
        keys = np.concatenate([keys for *_, keys in parts])
        order = np.argsort(keys, kind="stable")[:most]
        which = np.repeat(np.arange(len(parts)), [len(keys) for *_, keys in parts])
        counts = np.bincount(which[order], minlength=len(parts)).tolist()
        rows: list[Any] = []
        origins, received = [], math.inf
        base = np.concatenate([[0], np.cumsum([len(keys) for *_, keys in parts])[:-1]])
        start = np.zeros(len(parts), np.int64)
        taken = 0
        for number, ((_, piece, first, _), count) in enumerate(zip(parts, counts, strict=True)):
            start[number] = taken - base[number]
            taken += count
            if count == 0:
                continue
            chosen = np.arange(first, first + count)
            assert piece.rows is not None
            assert piece.origin is not None
            rows.append(piece.rows.take(chosen))
            origins.append(piece.origin.take(chosen))
            received = min(received, piece.received)
        # Of each part a prefix was taken, so that places move by what is left out before them.
        order = order + start[which[order]]
        whole = rows[0].concat(rows)
        for (place, _, _, _), count in zip(parts, counts, strict=True):
            place.row += count
        for name, place in self._places.items():
            if place.kind is kind:
                self._settle(name, place)
        return Taken(whole.take(order), Origin.concat(origins).take(order), received)

    def take_dead(self) -> DeadLetters | None:
        """Dead letters, which wait for nothing."""
        dead, self._dead = self._dead, []
        return DeadLetters.concat(dead) if dead else None

    def take_marks(self) -> Marks:
        """How far the partitions have come with what was taken since the last call."""
        marks, self._marks = self._marks, {}
        return marks

    @property
    def pending(self) -> bool:
        """Whether dead letters or marks wait to be taken."""
        return bool(self._dead or self._marks)

    @property
    def labels_wait(self) -> bool:
        """Whether there are labels that were not taken yet."""
        return any(place.head() < ALWAYS for place in self._of(Kind.LABELS))

    def dump(self) -> list[dict[str, Any]]:
        """What was read and not taken, as plain values."""
        kept = []
        for (topic, partition), place in self._places.items():
            kept.append(
                {
                    "kind": place.kind.value,
                    "topic": topic,
                    "partition": partition,
                    "frontier": place.frontier,
                    "row": place.row,
                    "pieces": [plain(piece) for piece, _ in place.pieces],
                    "keys": [keys.tolist() for _, keys in place.pieces],
                }
            )
        return kept

    def load(self, kept: Iterable[dict[str, Any]]) -> None:
        """What `dump` gave. Dead letters are not kept: they go with the call that brings them."""
        for value in kept:
            pieces = deque(
                (piece_of(piece), np.array(keys, np.int64))
                for piece, keys in zip(value["pieces"], value["keys"], strict=True)
            )
            name = value["topic"], value["partition"]
            place = _Place(Kind(value["kind"]), pieces, value["row"], value["frontier"])
            self._places[name] = place
            # So that it is known from the beginning what of them waits.
            self._tell(name, place, place.next_offset)

    def forget_gone(self) -> None:
        """Lets go of partitions that no slot reported and that hold nothing: their topics are no
        longer read."""
        # Called once all slots have reported; `heard` is then set for what is read.
        gone = [name for name, p in self._places.items() if not p.heard and p.head() == ALWAYS]
        for name in gone:
            del self._places[name]

    @property
    def reported(self) -> bool:
        """Whether every slot has spoken."""
        return not self._missing

    def _of(self, kind: Kind) -> list[_Place]:
        return [place for place in self._places.values() if place.kind is kind]

    def _settle(self, name: tuple[str, int], place: _Place) -> None:
        """Drops pieces that are taken whole, and notes how far that is."""
        mark = None
        while place.pieces and place.row >= len(place.pieces[0][1]):
            piece, keys = place.pieces.popleft()
            place.row -= len(keys)
            mark = piece.next_offset
        if place.row:
            mark = place.next_offset
        self._tell(name, place, mark)

    def _tell(self, name: tuple[str, int], place: _Place, mark: int | None) -> None:
        if mark is not None and mark != place.mark:
            self._marks[name] = place.mark = mark


def _runs(
    place: _Place, bounds: Bounds, before: int, most: int
) -> Iterable[tuple[_Place, Piece, int, Ints]]:
    """The rows at the front of a place that may go, piece by piece: the piece, the first row's
    number, and the keys."""
    bound = bounds.of(place.kind)
    for number, (piece, keys) in enumerate(place.pieces):
        first = place.row if number == 0 else 0
        end = int(np.searchsorted(keys, bound, side="right"))
        if end < len(keys) and keys[max(first, end)] >= bounds.fresh:
            end = len(keys)
        end = min(end, int(np.searchsorted(keys, before)), first + most)
        if end > first:
            yield place, piece, first, keys[first:end]
        if end < len(keys):
            return

"""The source of a live run: a fixed number of slots, each of which owns partitions.

Slot i of n reads the partitions p of both topics with p mod n = i, and slot 0 the inbox. Bytewax
makes its source partitions once a start and spreads them over the workers; the slots stay the same
whatever the number of workers and however many partitions the topics have or get.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from dataflows.live.pieces import Piece, Report
from dataflows.live.reader import Offsets
from dataflows.live.sources import Sources
from dataflows.noting import noting
from dataflows.sealed import seal, unseal

KIND, VERSION = "slot", 1

ORDER = "order"  # the key under which all pieces meet

_SOON = timedelta(milliseconds=2)  # to the next look when there was nothing
_LATER = timedelta(milliseconds=500)  # the same for a slot without partitions

Keyed = tuple[str, Piece | Report]


class SlotSource(FixedPartitionedSource[Keyed, bytes]):
    """The slots, on one reader a process. `stop` ends them all, as if there were no more."""

    def __init__(self, slots: int, sources: Sources, stop: threading.Event) -> None:
        self._slots = slots
        self._sources = sources
        self._stop = stop

    def list_parts(self) -> list[str]:
        """All slots: every worker can serve any of them."""
        return slot_names(self._slots)

    @noting
    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> StatefulSourcePartition[Keyed, bytes]:
        """A slot, anew or from its snapshot's offsets."""
        offsets = None if resume_state is None else offsets_of(resume_state)
        return _Slot(int(for_part.removeprefix("slot-")), self._sources, offsets, self._stop)


class _Slot(StatefulSourcePartition[Keyed, bytes]):
    def __init__(
        self, number: int, sources: Sources, offsets: Offsets | None, stop: threading.Event
    ) -> None:
        self._number = number
        self._sources = sources
        self._stop = stop
        self._snapped: Offsets = {}
        self._committed: Offsets = {}
        self._idle = False
        sources.open(number, offsets)

    @noting
    def next_batch(self) -> list[Keyed]:
        if self._stop.is_set():
            raise StopIteration
        taken = self._sources.take(self._number)
        self._idle = not taken
        return [(ORDER, piece) for piece in taken]

    def next_awake(self) -> datetime | None:
        if not self._idle:
            return None
        return datetime.now(UTC) + (_SOON if self._sources.active(self._number) else _LATER)

    @noting
    def snapshot(self) -> bytes:
        # One behind: the snapshot before this one is durable by now, this one may never be.
        if self._snapped != self._committed:
            self._sources.commit(self._snapped)
            self._committed = self._snapped
        self._snapped = self._sources.offsets(self._number)
        rows = [
            (topic, partition, offset)
            for topic, offsets in self._snapped.items()
            for partition, offset in offsets.items()
        ]
        return seal(KIND, VERSION, rows)


def slot_names(slots: int) -> list[str]:
    """The slots' names, in Bytewax's order."""
    return [f"slot-{number:02d}" for number in range(slots)]


def offsets_of(state: bytes) -> Offsets:
    """The offsets that a snapshot holds. Raises BadState."""
    offsets: dict[str, dict[int, int]] = {}
    for topic, partition, offset in unseal(KIND, VERSION, state, list[tuple[str, int, int]]):
        offsets.setdefault(topic, {})[partition] = offset
    return offsets

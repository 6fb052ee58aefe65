"""What the slots of a process read: Kafka's partitions, where there is Kafka, and the inbox."""

from __future__ import annotations

from dataflows.live.inbox import TOPICS, InboxReader
from dataflows.live.pieces import Piece, Report
from dataflows.live.reader import Offsets, Reader

_INBOX = frozenset(TOPICS.values())


class Sources:
    """Both readers as one. Slot 0 has the inbox, whatever else it reads, so that a recovery store
    of a flow from Kafka needs no slot of its own for it."""

    def __init__(self, kafka: Reader | None, inbox: InboxReader) -> None:
        self._kafka = kafka
        self._inbox = inbox
        self._unreported: set[int] = set()

    def open(self, slot: int, offsets: Offsets | None) -> None:
        """A slot begins, with the offsets of its snapshot."""
        if self._kafka is not None:
            self._kafka.open(slot, offsets)
        else:
            self._unreported.add(slot)
        if slot == 0:
            self._inbox.open(offsets)

    def take(self, slot: int) -> list[Piece | Report]:
        """What there is for the slot. Raises what the slots cannot go on from."""
        taken: list[Piece | Report] = []
        if self._kafka is not None:
            taken += self._kafka.take(slot)
        elif slot in self._unreported:
            self._unreported.discard(slot)
            taken.append(Report(slot, ()))
        if slot == 0:
            taken += self._inbox.take()
        return taken

    def active(self, slot: int) -> bool:
        """Whether the slot has anything to read."""
        return slot == 0 or (self._kafka is not None and self._kafka.active(slot))

    def offsets(self, slot: int) -> Offsets:
        """Where everything that the slot reads goes on, for a snapshot."""
        offsets = {} if self._kafka is None else self._kafka.offsets(slot)
        return {**offsets, **self._inbox.offsets()} if slot == 0 else offsets

    def commit(self, offsets: Offsets) -> None:
        """Lets others know of offsets that a durable snapshot holds."""
        self._inbox.commit(offsets)
        if self._kafka is not None:
            self._kafka.commit(
                {topic: found for topic, found in offsets.items() if topic not in _INBOX}
            )

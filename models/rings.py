"""Sums over sliding windows of event time, for many entities at once.

Time is cut into buckets; a ring keeps the newest buckets of an entity, bucket b in slot b mod n.
A slot is stamped with the bucket it holds, so nothing is ever cleared: what is too old is seen to
be so when it is read, and is written over when its slot is needed. A row that comes late is added
to its own bucket as long as no newer bucket has taken the slot, and is dropped after that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tidegate.schema import Ints

NEVER = np.iinfo(np.int32).min // 2  # a stamp older than any bucket


@dataclass(frozen=True, slots=True)
class Ring:
    """Buckets of `width` microseconds, `length` of them kept."""

    width: int
    length: int


class Rings:
    """Rings of several widths side by side, for `capacity` entities.

    Every ring keeps the number of rows and the sum of one integer value (an amount) per bucket.
    A window is a ring and how many of its newest buckets, the running one included, it spans.
    """

    def __init__(self, rings: Sequence[Ring], windows: Sequence[tuple[int, int]]) -> None:
        lengths = [ring.length for ring in rings]
        self._starts = np.cumsum([0, *lengths])[:-1]
        self._widths = np.array([ring.width for ring in rings], np.int64)
        self._lengths = np.array(lengths, np.int64)
        self._ring_of_slot = np.repeat(np.arange(len(rings)), lengths)
        # The longest window of every ring is summed in one go, any other by itself.
        longest = [max(span for ring, span in windows if ring == r) for r in range(len(rings))]
        self._spans = np.repeat(np.array(longest, np.int32), lengths)
        self._windows = [
            (ring, span if span < longest[ring] else None, self._slots(ring, rings[ring].length))
            for ring, span in windows
        ]
        slots = sum(lengths)
        self.stamps = np.full((0, slots), NEVER, np.int32)
        self.counts = np.zeros((0, slots), np.int32)
        self.sums = np.zeros((0, slots), np.int64)

    def read(self, entities: Ints, at: Ints) -> tuple[Ints, Ints]:
        """Counts and sums, both (rows, windows), of what each window held at the rows' times."""
        bucket = (at[:, None] // self._widths).astype(np.int32)
        age = bucket[:, self._ring_of_slot] - self.stamps[entities]
        held = (age >= 0) & (age < self._spans)
        counts = self.counts[entities] * held
        sums = self.sums[entities] * held
        count_of_ring = np.add.reduceat(counts, self._starts, axis=1)
        sum_of_ring = np.add.reduceat(sums, self._starts, axis=1)
        shape = (len(entities), len(self._windows))
        count, total = np.empty(shape, np.int64), np.empty(shape, np.int64)
        for column, (ring, span, slots) in enumerate(self._windows):
            if span is None:
                count[:, column] = count_of_ring[:, ring]
                total[:, column] = sum_of_ring[:, ring]
            else:
                recent = age[:, slots] < span
                count[:, column] = (counts[:, slots] * recent).sum(axis=1)
                total[:, column] = (sums[:, slots] * recent).sum(axis=1)
        return count, total

    def add(self, entities: Ints, at: Ints, values: Ints) -> None:
        """Adds one row to each of the entities, which must be distinct."""
        bucket = at[:, None] // self._widths
        slot = self._starts + bucket % self._lengths
        rows = entities[:, None]
        stamp = self.stamps[rows, slot]
        newer, same = bucket > stamp, bucket == stamp
        kept = newer | same
        self.stamps[rows, slot] = np.where(newer, bucket, stamp)
        self.counts[rows, slot] = self.counts[rows, slot] * ~newer + kept
        self.sums[rows, slot] = self.sums[rows, slot] * ~newer + kept * values[:, None]

    def _slots(self, ring: int, length: int) -> slice:
        start = int(self._starts[ring])
        return slice(start, start + length)


class LabelRing:
    """Labelled payments and frauds of entities by the day of the payment.

    A bucket's numbers change when a label comes, so a label that contradicts an earlier one puts
    right the very bucket that the earlier one went into.
    """

    def __init__(self, width: int, length: int) -> None:
        self._width = width
        self._length = length
        self.stamps = np.full((0, length), NEVER, np.int32)
        self.labelled = np.zeros((0, length), np.int32)
        self.frauds = np.zeros((0, length), np.int32)

    def read(self, entities: Ints, at: Ints) -> tuple[Ints, Ints, Ints]:
        """Age in buckets, labelled and frauds, all (rows, length); an age below 0 holds nothing."""
        age = (at // self._width)[:, None] - self.stamps[entities].astype(np.int64)
        held = (age >= 0) & (age < self._length)
        return (
            np.where(held, age, -1),
            np.where(held, self.labelled[entities], 0).astype(np.int64),
            np.where(held, self.frauds[entities], 0).astype(np.int64),
        )

    def change(self, entities: Ints, at: Ints, labelled: Ints, frauds: Ints) -> None:
        """Adds to the buckets of payments made at `at`; entities may repeat."""
        bucket = at // self._width
        place = entities * self._length + bucket % self._length
        stamps, counts = self.stamps.reshape(-1), self.labelled.reshape(-1)
        fraud_counts = self.frauds.reshape(-1)
        before = stamps[place]
        np.maximum.at(stamps, place, bucket.astype(np.int32))
        emptied = place[stamps[place] > before]
        counts[emptied] = 0
        fraud_counts[emptied] = 0
        held = bucket == stamps[place]
        np.add.at(counts, place[held], labelled[held].astype(np.int32))
        np.add.at(fraud_counts, place[held], frauds[held].astype(np.int32))


def grown(array: npt.NDArray[Any], capacity: int, fill: int = 0) -> npt.NDArray[Any]:
    """The array with its first axis lengthened to `capacity`, new rows filled."""
    extra = np.full((capacity - len(array), *array.shape[1:]), fill, array.dtype)
    return np.concatenate([array, extra])

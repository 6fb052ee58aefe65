"""Partitions become one stream in order of time, and no quiet one is waited for."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.live import merge as merging
from dataflows.live.merge import ALWAYS, Merge
from dataflows.live.pieces import Kind, Piece, piece_of, plain
from dataflows.sealed import seal, unseal
from tests.dataflows.live.pieces import PAYMENTS, piece, report, told
from tests.dataflows.streams import START
from tidegate.schema import HOUR, MINUTE, SECOND, Batch


def everything(merge: Merge, kind: Kind = Kind.PAYMENTS, most: int = 1000) -> list[str]:
    """The ids that may go now, in the order in which they go."""
    found: list[str] = []
    bounds = merge.bounds()
    while (taken := merge.take(kind, bounds, ALWAYS, most)) is not None:
        assert len(taken.rows) == len(taken.origin.offset)
        found += taken.rows.transaction_id.tolist()
    assert merge.head(kind, bounds) is None
    return found


def test_nothing_goes_before_every_slot_has_said_what_it_reads() -> None:
    merge = Merge(2)
    merge.report(report(0, [0]))
    merge.add(piece([START]))
    assert everything(merge) == []
    merge.report(report(1))
    merge.add(piece([], first=1))
    assert everything(merge) == ["p0-0"]


def test_partitions_with_a_backlog_go_in_order_of_time() -> None:
    merge = Merge(1)
    merge.report(report(0, [0, 1]))
    merge.add(piece([START, START + 4 * HOUR], partition=0, at_end=False))
    assert everything(merge) == []  # nobody knows yet what partition 1 has
    merge.add(piece([START + HOUR, START + 9 * HOUR], partition=1, at_end=False))
    assert everything(merge) == ["p0-0", "p1-0", "p0-1"]
    merge.add(piece([START + 10 * HOUR], partition=0, first=2))
    assert everything(merge) == ["p1-1"]  # 0 is at its end, and 1 may have more before its last
    merge.add(piece([], partition=1, first=2))
    assert everything(merge) == ["p0-2"]


def test_a_partition_at_its_end_holds_nobody_back() -> None:
    merge = Merge(1)
    merge.report(report(0, [0, 1], [0]))
    merge.add(piece([], partition=1))
    merge.add(told([]))
    merge.add(piece([START, START + HOUR]))
    assert everything(merge) == ["p0-0", "p0-1"]


def test_a_fresh_payment_does_not_wait_for_a_backlog_elsewhere() -> None:
    now = int(time.time() * SECOND)
    merge = Merge(1)
    merge.report(report(0, [0, 1]))
    merge.add(piece([now], partition=0))
    assert everything(merge) == ["p0-0"]  # and partition 1 has not said a word


def test_a_fresh_payment_does_not_overtake_what_came_before_it_in_its_partition() -> None:
    now = int(time.time() * SECOND)
    merge = Merge(1)
    merge.report(report(0, [0, 1]))
    merge.add(piece([now - HOUR, now], partition=0))
    assert everything(merge) == []
    merge.add(piece([now - MINUTE], partition=1, at_end=False))
    assert everything(merge) == ["p0-0", "p1-0", "p0-1"]


def test_a_silent_partition_holds_payments_back_for_a_while_and_labels_until_it_speaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    merge = Merge(1)
    merge.report(report(0, [0, 1], [0]))
    merge.add(piece([START + HOUR], partition=0))
    merge.add(told([("p0-0", START + HOUR, True)]))
    assert everything(merge) == []
    monkeypatch.setattr(merging, "SILENCE", -1.0)
    assert everything(merge) == ["p0-0"]
    assert everything(merge, Kind.LABELS) == []
    merge.add(piece([], partition=1))
    assert everything(merge, Kind.LABELS) == ["p0-0"]


def test_a_late_payment_goes_after_what_came_before_it_in_its_partition() -> None:
    merge = Merge(1)
    merge.report(report(0, [0]))
    merge.add(piece([START + 5 * HOUR, START, START + 6 * HOUR]))
    assert everything(merge) == ["p0-0", "p0-1", "p0-2"]


def test_marks_tell_how_far_everything_is_taken() -> None:
    merge = Merge(1)
    merge.report(report(0, [0]))
    merge.add(piece([START, START + 1, START + 2], first=10))
    assert merge.take_marks() == {}
    assert merge.take(Kind.PAYMENTS, merge.bounds(), ALWAYS, 2) is not None
    assert merge.take_marks() == {(PAYMENTS, 0): 12}
    resumed = Merge(1)
    resumed.load(merge.dump())
    assert resumed.take_marks() == {(PAYMENTS, 0): 12}
    assert everything(merge) == ["p0-12"]
    assert merge.take_marks() == {(PAYMENTS, 0): 13}
    merge.add(piece([], first=13))
    assert not merge.pending


def test_a_partition_that_is_gone_and_empty_is_forgotten() -> None:
    merge = Merge(1)
    merge.report(report(0, [0, 7]))
    merge.add(piece([START], partition=7, at_end=False))
    merge.add(piece([], partition=0))
    assert everything(merge) == ["p7-0"]
    resumed = Merge(1)
    resumed.load(merge.dump())
    resumed.report(report(0, [0]))
    resumed.forget_gone()
    resumed.add(piece([START + HOUR], partition=0))
    assert everything(resumed) == ["p0-0"]


PIECES = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 40), min_size=1, max_size=6)), max_size=12
)


@given(PIECES, st.integers(1, 7), st.integers(0, 12))
def test_nothing_is_lost_doubled_or_out_of_its_partitions_order_whenever_it_is_saved(
    pieces: list[tuple[int, list[int]]], most: int, saved_after: int
) -> None:
    merge = Merge(1)
    merge.report(report(0, range(4)))
    for partition in range(4):
        merge.add(piece([], partition=partition))
    offsets = [0] * 4
    taken: list[str] = []
    marks: dict[tuple[str, int], int] = {}
    for number, (partition, hours) in enumerate(pieces):
        if number == saved_after:
            again = Merge(1)
            again.load(merge.dump())
            again.report(report(0, range(4)))
            for other in range(4):
                again.add(piece([], partition=other, first=offsets[other]))
            merge = again
        at = [START + hour * HOUR for hour in hours]
        merge.add(piece(at, partition=partition, first=offsets[partition]))
        offsets[partition] += len(at)
        if number % 2:
            taken += everything(merge, most=most)
        marks |= merge.take_marks()
    taken += everything(merge, most=most)
    marks |= merge.take_marks()
    for partition in range(4):
        own = [name for name in taken if name.startswith(f"p{partition}-")]
        assert own == [f"p{partition}-{row}" for row in range(offsets[partition])]
        if offsets[partition]:
            assert marks[PAYMENTS, partition] == offsets[partition]


def test_a_piece_is_the_same_after_it_was_saved() -> None:
    made = piece([START, START + 1], partition=3, first=7, at_end=False)
    again = piece_of(unseal("test", 1, seal("test", 1, plain(made)), dict))
    assert isinstance(again, Piece)
    assert isinstance(again.rows, Batch)
    assert isinstance(made.rows, Batch)
    for name in Batch.__dataclass_fields__:
        assert np.array_equal(getattr(again.rows, name), getattr(made.rows, name))
    assert again.origin is not None
    assert again.origin.envelope is not None
    assert again.origin.offset.tolist() == [7, 8]
    assert again.origin.envelope.key.tolist() == [b"p3-7", b"p3-8"]
    assert (again.place, again.next_offset, again.at_end) == ((PAYMENTS, 3), 9, False)

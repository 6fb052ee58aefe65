"""Steps come out whole and in order, however their parts arrive."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.lockstep import Lockstep


class Piece(NamedTuple):
    number: int
    part: int


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[int, int, list[list[Piece]]]:
    """Parts a step, the first step, and the pieces of some steps in any order, in any batches."""
    parts = draw(st.integers(1, 4))
    first = draw(st.integers(0, 3))
    steps = draw(st.integers(0, 6))
    pieces = [Piece(first + step, part) for step in range(steps) for part in range(parts)]
    order = draw(st.permutations(pieces))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=4)))
    return parts, first, [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]


@given(arrivals())
def test_any_order_of_arrival_gives_whole_steps_in_order(
    arrived: tuple[int, int, list[list[Piece]]],
) -> None:
    parts, first, batches = arrived
    lockstep: Lockstep[Piece] = Lockstep(parts, first)
    steps = [step for batch in batches for step in lockstep.whole(batch)]
    count = sum(map(len, batches)) // parts
    assert [{piece.number for piece in step} for step in steps] == [
        {number} for number in range(first, first + count)
    ]
    assert all(sorted(piece.part for piece in step) == list(range(parts)) for step in steps)
    assert lockstep.settle() == first + count


@given(arrivals(), st.data())
def test_nothing_comes_out_before_all_its_parts_and_all_earlier_steps(
    arrived: tuple[int, int, list[list[Piece]]], data: st.DataObject
) -> None:
    parts, first, batches = arrived
    pieces = [piece for batch in batches for piece in batch]
    if not pieces:
        return
    missing = data.draw(st.sampled_from(pieces))
    lockstep: Lockstep[Piece] = Lockstep(parts, first)
    rest = [piece for piece in pieces if piece != missing]
    steps = list(lockstep.whole(rest))
    assert [step[0].number for step in steps] == list(range(first, missing.number))
    if len(rest) > parts * len(steps):
        with pytest.raises(RuntimeError, match="parts missing"):
            lockstep.settle()
    assert len(list(lockstep.whole([missing]))) == len(pieces) // parts - len(steps)
    lockstep.settle()


def test_a_snapshot_with_parts_left_over_says_which() -> None:
    lockstep: Lockstep[Piece] = Lockstep(3)
    assert list(lockstep.whole([Piece(0, 0), Piece(2, 1), Piece(0, 2)])) == []
    with pytest.raises(RuntimeError, match=r"\{0: 2, 2: 1\} of 3"):
        lockstep.settle()

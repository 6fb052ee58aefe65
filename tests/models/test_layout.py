"""Which weights a row picks, against a plain count of edges."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bins import DEFAULT, Bins
from models.layout import Layout, layout_of

edges = st.lists(st.integers(-8, 8).map(lambda n: n / 2), max_size=5, unique=True).map(
    lambda values: tuple(sorted(values))
)
some_bins = st.lists(st.tuples(edges, edges), min_size=1, max_size=5).map(
    lambda pairs: tuple(Bins(f"f{n}", fine, coarse) for n, (fine, coarse) in enumerate(pairs))
)
values = st.one_of(st.integers(-10, 10).map(lambda n: n / 2), st.floats(width=32, allow_nan=True))


def plain(bins: tuple[Bins, ...], row: list[float]) -> list[tuple[object, ...] | None]:
    """What identifies the weight of every term: its features and their bins, None if missing."""

    def bin_of(cuts: tuple[float, ...], x: float) -> int:
        return sum(x >= cut for cut in cuts)

    terms: list[tuple[object, ...] | None] = [
        None if x != x else (b.feature, bin_of(b.edges, x)) for b, x in zip(bins, row, strict=True)
    ]
    crossed = [(b, x) for b, x in zip(bins, row, strict=True) if b.coarse]
    for (left, x), (right, y) in combinations(crossed, 2):
        pair = (left.feature, bin_of(left.coarse, x), right.feature, bin_of(right.coarse, y))
        terms.append(None if x != x or y != y else pair)
    return terms


@settings(max_examples=50, deadline=None)
@given(bins=some_bins, data=st.data())
def test_two_rows_pick_the_same_weight_exactly_when_they_fall_into_the_same_bins(
    bins: tuple[Bins, ...], data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.tuples(*[values] * len(bins)), min_size=1, max_size=8))
    layout = Layout(bins)
    picked = layout.indices(np.array(rows, np.float32).reshape(len(rows), len(bins)))
    assert picked.shape == (len(rows), layout.terms)
    meaning: dict[int, tuple[object, ...] | None] = {layout.weights: None}
    for row, weights in zip(rows, picked.tolist(), strict=True):
        for term, (weight, what) in enumerate(zip(weights, plain(bins, list(row)), strict=True)):
            assert meaning.setdefault(weight, what) == what
            if what is None:
                assert weight == layout.weights
            else:
                assert layout.starts[term] <= weight < layout.starts[term + 1]
    held = [what for what in meaning.values() if what is not None]
    assert len(set(held)) == len(held)


def test_every_weight_of_a_small_layout_can_be_picked() -> None:
    bins = (Bins("a", (0.0, 1.0), (1.0,)), Bins("b", (2.0,), (2.0, 3.0)), Bins("c", (5.0,)))
    layout = Layout(bins)
    grid = np.array([(a, b, c) for a in (-1, 0, 1) for b in (1, 2, 3) for c in (4, 5)], np.float32)
    assert set(layout.indices(grid).ravel().tolist()) == set(range(layout.weights))


def test_an_edge_belongs_to_the_bin_above_it() -> None:
    layout = Layout((Bins("a", (0.5,)),))
    values = np.array([[0.49999997], [0.5], [-np.inf], [np.inf]], np.float32)
    assert layout.indices(values).ravel().tolist() == [0, 1, 0, 1]


def test_no_rows_pick_nothing() -> None:
    layout = layout_of(DEFAULT)
    empty = np.zeros((0, len(DEFAULT)), np.float32)
    assert layout.indices(empty).shape == (0, layout.terms)


def test_equal_bins_share_one_layout() -> None:
    assert layout_of(tuple(DEFAULT)) is layout_of(DEFAULT)


@pytest.mark.parametrize("bins", [(Bins("a", ()),), (Bins("a", (1.0,)), Bins("b", (1.0,)))])
def test_bins_without_crosses_have_none(bins: tuple[Bins, ...]) -> None:
    layout = Layout(bins)
    assert layout.terms == len(bins)
    assert len(layout.crosses) == 0

"""From feature values to the weights that are added up: one a feature, one a pair of features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from models.bins import Bins
from tidegate.schema import Ints

Indices = npt.NDArray[np.intp]  # numpy converts any other integers before it picks by them


@lru_cache(maxsize=8)
def layout_of(bins: tuple[Bins, ...]) -> Layout:
    """The layout of these bins, made once."""
    return Layout(bins)


class Layout:
    """Numbers the weights of an additive model on bins with pairwise crosses.

    Term t of a row picks one weight out of `starts[t]` .. `starts[t + 1]`; the first terms are the
    features themselves, in order, then come the crosses (`crosses`, pairs of feature numbers).
    """

    def __init__(self, bins: Sequence[Bins]) -> None:
        self.features = tuple(b.feature for b in bins)
        self._edges = [np.array(b.edges, np.float32) for b in bins]
        self._coarse = [
            np.searchsorted(
                np.array(b.coarse, np.float32), np.array([-np.inf, *b.edges], np.float32), "right"
            ).astype(np.intp)
            if b.coarse
            else None
            for b in bins
        ]
        crossed = [number for number, b in enumerate(bins) if b.coarse]
        self.crosses = np.array(list(combinations(crossed, 2)), np.int64).reshape(-1, 2)
        fine = [len(edges) + 1 for edges in self._edges]
        coarse = np.array([len(b.coarse) + 1 for b in bins], np.intp)
        left, right = self.crosses[:, 0], self.crosses[:, 1]
        sizes = np.concatenate([np.array(fine, np.int64), coarse[left] * coarse[right]])
        self.starts: Ints = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.weights = int(self.starts[-1])
        self._stride = coarse[right][:, None]
        self._offsets = self.starts[:-1].astype(np.intp)[:, None]

    @property
    def terms(self) -> int:
        """How many weights are added up for a row: features and crosses."""
        return len(self._offsets)

    def indices(self, values: npt.NDArray[np.float32]) -> Indices:
        """The weights that each row picks, (rows, terms), of values (rows, features).

        A missing value (NaN) picks the number `self.weights`, one past the last, for the feature
        and for its crosses. In memory a term's rows lie together, as all that is done with them
        is done a term at a time."""
        rows, count = values.shape
        picked = np.empty((self.terms, rows), np.intp)
        fine, crossed = picked[:count], picked[count:]
        coarse = np.empty((len(self._coarse), rows), np.intp)
        columns = np.ascontiguousarray(values.T)
        for number, (edges, table) in enumerate(zip(self._edges, self._coarse, strict=True)):
            place = np.searchsorted(edges, columns[number], "right")
            fine[number] = place
            if table is not None:
                coarse[number] = table[place]
        left, right = self.crosses[:, 0], self.crosses[:, 1]
        for block in _blocks(len(self.crosses)):
            np.multiply(coarse[left[block]], self._stride[block], out=crossed[block])
            crossed[block] += coarse[right[block]]
        picked += self._offsets
        missing = np.isnan(columns)
        if missing.any():
            fine[missing] = self.weights
            crossed[missing[left] | missing[right]] = self.weights
        return picked.T


def total(weights: npt.NDArray[Any], picked: Indices) -> npt.NDArray[Any]:
    """The sum of the weights that each row picks, in the type of the weights but at least 64 bits.

    weights: all of a layout and, last, the 0 that missing values pick."""
    terms = picked.T
    result = np.zeros(terms.shape[1], np.result_type(weights.dtype, np.int64))
    for block in _blocks(len(terms)):
        result += weights.take(terms[block], mode="clip").sum(axis=0, dtype=result.dtype)
    return result


def spread(values: npt.NDArray[Any], picked: Indices, size: int) -> npt.NDArray[np.float64]:
    """The other way round: for each of `size` weights the sum of the values of the rows that pick
    it."""
    terms = picked.T
    result = np.zeros(size)
    for block in _blocks(len(terms)):
        some = terms[block]
        result += np.bincount(some.ravel(), np.tile(values, len(some)), minlength=size)
    return result


def _blocks(terms: int) -> Iterator[slice]:
    """A few terms at a time: what 256 rows take of them stays in the caches, and below the size
    from which allocating memory costs more than what is done with it (it was 6 times slower)."""
    for start in range(0, terms, _BLOCK):
        yield slice(start, start + _BLOCK)


_BLOCK = 48

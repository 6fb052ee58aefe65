"""From feature values to the weights that are added up: one a feature, one a pair of features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
import numpy.typing as npt

from models.bins import Bins
from tidegate.schema import Ints

Indices = npt.NDArray[np.int32]


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
            ).astype(np.int32)
            for b in bins
        ]
        crossed = [number for number, b in enumerate(bins) if b.coarse]
        self.crosses = np.array(list(combinations(crossed, 2)), np.int64).reshape(-1, 2)
        fine = [len(edges) + 1 for edges in self._edges]
        coarse = np.array([len(b.coarse) + 1 for b in bins], np.int32)
        left, right = self.crosses[:, 0], self.crosses[:, 1]
        sizes = np.concatenate([np.array(fine, np.int64), coarse[left] * coarse[right]])
        self.starts: Ints = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.weights = int(self.starts[-1])
        self._stride = coarse[right]
        self._offsets = self.starts[:-1].astype(np.int32)

    @property
    def terms(self) -> int:
        """How many weights are added up for a row: features and crosses."""
        return len(self._offsets)

    def indices(self, values: npt.NDArray[np.float32]) -> Indices:
        """The weights that each row picks, (rows, terms), of values (rows, features).

        A missing value (NaN) picks the number `self.weights`, one past the last, for the feature
        and for its crosses."""
        rows, count = values.shape
        fine = np.empty((count, rows), np.int32)
        coarse = np.empty((count, rows), np.int32)
        columns = np.ascontiguousarray(values.T)
        for number, (edges, table) in enumerate(zip(self._edges, self._coarse, strict=True)):
            place = np.searchsorted(edges, columns[number], "right")
            fine[number] = place
            coarse[number] = table[place]
        result = np.empty((rows, self.terms), np.int32)
        result[:, :count] = fine.T
        left, right = self.crosses[:, 0], self.crosses[:, 1]
        result[:, count:] = (coarse[left] * self._stride[:, None] + coarse[right]).T
        result += self._offsets
        missing = np.isnan(values)
        if missing.any():
            result[:, :count][missing] = self.weights
            result[:, count:][missing[:, left] | missing[:, right]] = self.weights
        return result

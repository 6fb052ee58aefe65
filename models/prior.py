"""What is believed of a payment before the first label, which learning starts from.

A new installation knows no fraud for a week or more. It does know how unusual a payment is for its
card, and which terminals and cards had a first fraud. These beliefs are the champion's first
weights: they are part of the score and of its reasons like any others. They fade as frauds are
learned from, in bins that are never visited again as well.

Each is a line through points, from the feature's value to log-odds, flat beyond the ends (a count
is 0 or 1 or more, nothing between). What needs no label ranks payments, and adds up to less than a
review wants at its default threshold: on simulated payments two of a hundred that it would flag
are fraud. Measured in docs/models.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from models.bins import Bins
from models.features import USUAL_AMOUNT


@dataclass(frozen=True, slots=True)
class Belief:
    """Log-odds of fraud that a feature adds, by its value: (value, log-odds), values ascending."""

    feature: str
    points: tuple[tuple[float, float], ...]

    def of(self, values: Sequence[float]) -> npt.NDArray[np.float64]:
        """Log-odds at these values of the feature."""
        x, y = zip(*self.points, strict=True)
        log_odds: npt.NDArray[np.float64] = np.interp(values, x, y)
        return log_odds


# fmt: off
BELIEFS = (
    Belief("amount", ((0, -0.65), (5 * USUAL_AMOUNT, 2.6))),
    Belief("card_ratio_drawn", ((0, -0.08), (5, 0.33))),
    Belief("card_unusual_7d", ((0.5, 0), (1, 0.5), (3, 1.5))),
    Belief("card_frauds_30d", ((0.5, 0), (1, 0.7), (3, 1.4), (7, 2.1), (12, 2.6))),
    Belief("terminal_share_7d",
           ((0, 0), (0.02, 0.7), (0.05, 1.5), (0.1, 2.3), (0.2, 3.2), (0.5, 4.5), (0.95, 5.5))),
)
# fmt: on


def first_weights(bins: Bins, beliefs: Sequence[Belief]) -> npt.NDArray[np.float64]:
    """First weights of a feature's bins: the belief at the middle of each, 0 without a belief.

    The first bin and the last are open: they are believed to be as their edges are."""
    for belief in beliefs:
        if belief.feature == bins.feature:
            edges = bins.edges
            middles = [edges[0], *((a + b) / 2 for a, b in pairwise(edges)), edges[-1]]
            return belief.of(middles)
    return np.zeros(len(bins.edges) + 1)

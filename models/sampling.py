"""The sample of payments that models are compared on: all frauds and a share of the rest.

Every model is tested on the same payments, chosen by their ids alone, and slow models learn from
them alone. What a payment stands for grows as its kind is thinned, so figures are of all payments.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from tidegate.schema import Examples, Ints

SHARE = 16  # one in so many genuine payments
MOST = 128  # payments of one lesson; beyond, both kinds are thinned alike


@dataclass(frozen=True, slots=True)
class Sample:
    """Some of the examples of a lesson: their places, ascending, and what they are."""

    rows: Ints
    examples: Examples


def sample(examples: Examples) -> Sample:
    """The sample of a lesson, with what each payment of it stands for."""
    if not len(examples):
        return Sample(np.zeros(0, np.int64), examples)
    drawn = [zlib.crc32(name.encode()) % SHARE == 0 for name in examples.transaction_id]
    rows = np.flatnonzero(np.array(drawn, np.bool_) | examples.fraud)
    thinned = max(1, -(-len(rows) // MOST))
    rows = rows[::thinned]
    chosen = examples.take(rows)
    stands = chosen.stands * np.where(chosen.fraud, 1, SHARE) * thinned
    return Sample(rows, replace(chosen, stands=stands))

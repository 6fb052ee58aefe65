"""How long the scenarios run from Kafka: small for every run of the tests, large for `make faults`;
and their seeds."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.faults.messages import Traffic, traffic, world

SEED = "FAULTS_SEED"  # repeats a run; no TIDEGATE_ name, as the product refuses those it knows not


@dataclass(frozen=True)
class Scale:
    """rows: payments, of so many days of stream; pace: messages a second, which make the load.
    times: that a fault comes; outage: seconds that something is away."""

    rows: int
    days: int
    pace: float
    times: int
    outage: float

    def traffic(self, rng: random.Random, *, repeats: bool = True) -> Traffic:
        """Payments with everything that goes wrong in life."""
        batch, told = world(self.rows, self.days, rng.randrange(2**32), label_days=0.25)
        return traffic(batch, told, np.random.default_rng(rng.randrange(2**32)), repeats=repeats)


SMALL = Scale(rows=3_000, days=2, pace=600, times=1, outage=2)
LARGE = Scale(rows=20_000, days=6, pace=300, times=5, outage=20)


def long(seconds: int) -> list[Any]:
    """Marks of what only `make faults` runs, with the seconds it may take."""
    return [pytest.mark.long, pytest.mark.timeout(seconds)]


at_scales: Callable[..., Any] = pytest.mark.parametrize(
    "scale",
    [pytest.param(SMALL, marks=pytest.mark.timeout(600)), pytest.param(LARGE, marks=long(900))],
    ids=["small", "large"],
)


def seeded() -> random.Random:
    """A generator; its seed is printed, and shown when the test fails."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(2**32))
    print(f"{SEED}={seed}")
    return random.Random(seed)

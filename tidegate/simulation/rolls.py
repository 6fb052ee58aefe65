"""Seeded random numbers that are the same on every machine and for every way of cutting time.

Every (part, day) has a generator of its own, so a day can be made without the days before it.
Floats are drawn and computed but only integers leave the simulation: the last bit of `exp` may
differ between processors, its rounded value in practice does not. For the same reason every sort
is a stable one.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Rolls = np.random.Generator

MAX_SEED = 2**32 - 1  # so that an id that holds it never looks like a card number


class Part(IntEnum):
    """What a generator is for. Values are part of every simulation's identity: only add."""

    WORLD = 0
    GENUINE = 1
    LOOK_ALIKES = 2
    TRIPS = 3
    FRAUD = 4
    TERMINALS = 5
    LABELS = 6
    HITS = 7


def rolls(seed: int, part: Part, day: int = 0) -> Rolls:
    """The generator of a part on a day (a proleptic ordinal, or 0 where there is no day).

    Raises ValueError for a seed that is not from 0 to 2**32 - 1.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be from 0 to {MAX_SEED}, not {seed}")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(part, day))))


def arrivals(rate: float, phase: float, day: int) -> int:
    """How many episodes begin on a day: `rate` a day on average, evenly spaced.

    Even spacing (rather than a Poisson number) makes small simulations show every pattern.
    """
    return int(np.floor(rate * (day + 1) + phase) - np.floor(rate * day + phase))


def spread(rng: Rolls, low: int, high: int, n: int) -> Integers:
    """n whole numbers from low to high, both included."""
    return rng.integers(low, high + 1, n, dtype=np.int64)


def whole(values: Floats) -> Integers:
    """Rounded down to whole numbers."""
    return np.floor(values).astype(np.int64)


def table(weights: Floats | list[float], size: int = 4096) -> Integers:
    """A lookup table that turns a uniform number u into an index with the given weights:
    `table[whole(u * size)]`."""
    share = np.asarray(weights, dtype=np.float64)
    bounds = np.floor(np.cumsum(share) / share.sum() * size + 0.5)
    return np.searchsorted(bounds, np.arange(size), side="right").astype(np.int64)


def look_up(lookup: Integers, u: Floats) -> Integers:
    """The table's entries for uniform numbers u."""
    chosen: Integers = lookup[whole(u * len(lookup))]
    return chosen


def repeated(counts: Integers) -> tuple[Integers, Integers]:
    """For episodes of `counts` payments each: every payment's episode, and its place in it."""
    episode = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    first = np.cumsum(counts) - counts
    return episode, np.arange(len(episode), dtype=np.int64) - first[episode]

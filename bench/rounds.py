"""Measuring in turn: every round runs all contenders, and every other round in reverse order.

Work that never waits is measured in CPU time of this process, so that other programs on the machine
disturb it less; work that may wait, for a database or for another process, by the clock.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Spent:
    """Seconds spent in the `with` blocks of one watch, added up."""

    clock: float = 0.0
    cpu: float = 0.0

    def __enter__(self) -> None:
        self._begun = perf_counter(), process_time()

    def __exit__(self, *error: object) -> None:
        self.clock += perf_counter() - self._begun[0]
        self.cpu += process_time() - self._begun[1]


def in_turn(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each contender gave in each round. A machine that gets slower, or a cache that gets
    warmer, meets none of them always first."""
    found: dict[str, list[T]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            gc.collect()  # nobody pays for what the one before left behind
            found[name].append(contenders[name]())
    return found


def times(figure: Sequence[float], beside: Sequence[float]) -> float:
    """How many times the peer's a figure is: the median over rounds of the ratio in each."""
    return median(a / b for a, b in zip(figure, beside, strict=True))

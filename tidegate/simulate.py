"""Simulates customers, terminals, payments, fraud and late labels, from a seed.

For demonstrations, tests and benchmarks: no real payment is needed, and the truth is known. The
same seed gives the same payments on every machine. What the simulated fraud looks like is said in
`tidegate.simulation.fraud`, what genuine behaviour looks like in `tidegate.simulation.genuine`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

from tidegate.schema import Batch, Labels
from tidegate.simulation.days import Day, as_known, days
from tidegate.simulation.files import appearing
from tidegate.simulation.labels import in_order
from tidegate.simulation.payments import Pattern
from tidegate.simulation.world import MIN_TERMINALS, PAYMENTS_A_DAY, World, world

__all__ = [
    "START",
    "Day",
    "Pattern",
    "Size",
    "World",
    "as_known",
    "days",
    "known",
    "simulate",
    "sized",
    "world",
    "write",
]

START = date(2026, 1, 1)
_DAYS = 45


class Size(NamedTuple):
    """How large a simulation is."""

    customers: int
    terminals: int
    days: int


def sized(transactions: int) -> Size:
    """A simulation of 45 days with at least so many payments, and few more."""
    # Payments are counted by chance: six standard deviations, and the shortest rhythm of 45 days.
    wanted = (transactions + 6 * math.sqrt(transactions) + 60) / 0.985
    customers = math.ceil(wanted / (_DAYS * PAYMENTS_A_DAY))
    return Size(customers, max(2 * MIN_TERMINALS, customers // 3), _DAYS)


def simulate(
    customers: int, terminals: int, days: int, seed: int, start: date = START
) -> tuple[Batch, Labels]:
    """A whole simulation in memory: payments in the order of (event_time, transaction_id), and
    all their labels, also those that come after the last day, in the order of (labelled_at,
    transaction_id, source).

    customers: at least 1; terminals: at least 20; days: at least 1; seed: 0 to 2**32 - 1. Raises
    ValueError for anything else.
    """
    simulated = _days(customers, terminals, days, seed, start)
    parts = [(day.batch(), day.labels) for day in simulated]
    return (
        Batch.concat([batch for batch, _ in parts]),
        in_order(Labels.concat([labels for _, labels in parts])),
    )


def known(
    customers: int, terminals: int, days: int, seed: int, start: date = START
) -> Iterator[tuple[Batch, Labels]]:
    """Each day's payments, with their column `content` left 0, and the labels that become known on
    that day; then no payments, and all labels that come later. Memory, arguments and errors as for
    `write`."""
    return as_known(_days(customers, terminals, days, seed, start), content=False)


def write(
    directory: Path,
    customers: int,
    terminals: int,
    days: int,
    seed: int,
    format: str = "parquet",
    start: date = START,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, Path]:
    """Writes `transactions.<format>` and `labels.<format>` into the directory, and returns their
    paths. Memory is bounded by a day's payments and the labels of the last two months.

    format: parquet, csv or jsonl. progress: called after every day with the days done and the
    days in all. Both files appear at the end, complete, in place of older ones; an error leaves
    none. Arguments and errors otherwise as for `simulate`.
    """
    paths = directory / f"transactions.{format}", directory / f"labels.{format}"
    with appearing(*paths, format) as files:
        for done, (batch, labels) in enumerate(known(customers, terminals, days, seed, start), 1):
            files.write(batch, labels)
            if progress is not None and done <= days:
                progress(done, days)
    return paths


def _days(customers: int, terminals: int, count: int, seed: int, start: date) -> Iterator[Day]:
    if count < 1:
        raise ValueError(f"days must be at least 1, not {count}")
    return days(world(customers, terminals, seed), start, count, seed)

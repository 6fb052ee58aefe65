"""Features of cards and terminals, by the size of the batch and with one terminal that is hot.

Why: profiles work on whole batches, and several rows of one entity in a batch are taken one after
the other. So small batches cost more a row, and a terminal that makes a tenth of all payments
costs the more the larger the batch is. The peer is the same work in batches of 2,000 without a hot
terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from bench.given import Given
from bench.report import Report, figure
from bench.rounds import Spent, in_turn, times
from models.cards import CardProfiles
from models.features import hundredths
from models.terminals import TerminalProfiles
from tidegate.schema import Batch

SIZES = (100, 500, 2_000, 8_000)
_ROUNDS = 3
_HOT = 10  # one payment in so many is the hot terminal's
_WARM = 8_000  # rows of a batch before the measured stretch


class Stretch:
    """A stretch of payments, measured on profiles that know the payments before it."""

    def __init__(self, before: Batch, batch: Batch) -> None:
        self._batch = batch
        cards, terminals = CardProfiles(), TerminalProfiles()
        for part in _cut(before, _WARM):
            cards.observe(part, hundredths(part))
            terminals.observe(part, hundredths(part))
        self._state = cards.dump(), terminals.dump()

    def microseconds(self, size: int) -> float:
        """A row, in batches of that size."""
        cards = CardProfiles.load(self._state[0])
        terminals = TerminalProfiles.load(self._state[1])
        parts = _cut(self._batch, size)
        spent = Spent()
        with spent:
            for part in parts:
                amount = hundredths(part)
                cards.observe(part, amount)
                terminals.observe(part, amount)
        return 1e6 * spent.cpu / len(self._batch)


def bench(given: Given) -> Report:
    """Microseconds a row by batch size, even and with a hot terminal."""
    rounds = given.rounds(_ROUNDS)
    whole = given.history(given.size(200_000, 30_000)).batch
    count = min(given.part(24_000, 16_000), len(whole) // 2)
    stretches = {}
    for name, batch in (("as paid", whole), ("hot terminal", _with_hot_terminal(whole))):
        middle = len(batch) - count
        before, measured = np.arange(middle), np.arange(middle, len(batch))
        stretches[name] = Stretch(batch.take(before), batch.take(measured))
    contenders: dict[str, Callable[[], float]] = {
        _named(name, size): partial(stretch.microseconds, size)
        for name, stretch in stretches.items()
        for size in SIZES
    }
    found = in_turn(contenders, rounds)
    peer = _named("as paid", 2_000)
    figures = [
        figure(
            name,
            spent,
            "µs CPU a row",
            None if name == peer else times(spent, found[peer]),
            _beside(name, peer),
        )
        for name, spent in found.items()
    ]
    notes = [
        f"cards and terminals together, {count:,} rows on profiles that know {len(whole) - count:,}"
        f" payments before them; the hot terminal makes one payment in {_HOT}"
    ]
    return Report("features", count, rounds, figures, notes)


def _cut(batch: Batch, size: int) -> Sequence[Batch]:
    return [
        batch.take(np.arange(start, min(start + size, len(batch))))
        for start in range(0, len(batch), size)
    ]


def _with_hot_terminal(batch: Batch) -> Batch:
    terminals = batch.terminal_id.copy()
    terminals[::_HOT] = terminals[0]
    return replace(batch, terminal_id=terminals)


def _named(name: str, size: int) -> str:
    return f"{name}, batches of {size:,}"


def _beside(name: str, peer: str) -> str:
    return "" if name == peer else peer

"""The cards that scored highest on each of the last days, and which of them were compromised.

Card precision@100 (Le Borgne et al., *Reproducible Machine Learning for Credit Card Fraud
Detection*, ULB 2022, ch. 4): of the 100 cards with the highest score of a day, the share with a
fraud on that day; a card that was found is not looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.portable import pack_texts, unpack_texts
from tidegate.schema import Bools, Ints, Texts, texts

LOOKED_AT = 100  # cards a day
# Kept of a day: more than are looked at, as some will have been found on the days before.
_KEPT = 4 * LOOKED_AT


class TopCards:
    """The last `days` days; payments of older ones are not counted."""

    def __init__(self, days: int) -> None:
        self._days = days
        self._scores: dict[int, dict[str, int]] = {}  # by day: log-odds of its highest cards
        self._floors: dict[int, int] = {}  # by day: what it takes to be among them
        self._frauds: dict[int, set[str]] = {}

    def count(
        self, days: Ints, cards: Texts, log_odds: Ints, fraud: Bools, corrected: Bools
    ) -> None:
        """Takes payments in. corrected: of these the other outcome was counted before."""
        if not len(days):
            return
        self._forget(max(int(days.max()), max(self._scores, default=0)))
        for day in np.unique(days).tolist():
            if day in self._scores:
                rows = np.flatnonzero(days == day)
                self._score(day, cards[rows], log_odds[rows])
                known = self._frauds[day]
                known.difference_update(cards[rows[corrected[rows] & ~fraud[rows]]].tolist())
                known.update(cards[rows[fraud[rows]]].tolist())

    def precision(self, days: Sequence[int]) -> float:
        """Card precision@100 of these days, ascending, as their mean; NaN without any of them."""
        found: set[str] = set()
        shares = []
        for day in days:
            if not self._scores.get(day):
                continue
            open_ = [item for item in self._scores[day].items() if item[0] not in found]
            hits = self._frauds[day].intersection(card for card, _ in _highest(open_, LOOKED_AT))
            found |= hits
            shares.append(len(hits) / LOOKED_AT)
        return float(np.mean(shares)) if shares else float("nan")

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """All that is held, as plain arrays."""
        scored = [(day, *item) for day, held in self._scores.items() for item in held.items()]
        frauds = [(day, card) for day, known in self._frauds.items() for card in sorted(known)]
        arrays: dict[str, npt.NDArray[Any]] = {
            "floors": np.array(list(self._floors.items()), np.int64).reshape(-1, 2),
            "scored": np.array([(day, odds) for day, _, odds in scored], np.int64).reshape(-1, 2),
            "fraud_days": np.array([day for day, _ in frauds], np.int64),
        }
        for name, cards in (
            ("scored", [card for _, card, _ in scored]),
            ("fraud", [card for _, card in frauds]),
        ):
            packed = pack_texts(texts(cards))
            arrays |= {f"{name}_cards_{part}": array for part, array in packed.items()}
        return arrays

    def load(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """What `dump` gave."""

        def cards(name: str) -> list[str]:
            parts = arrays[f"{name}_cards_bytes"], arrays[f"{name}_cards_lengths"]
            return list(unpack_texts(*parts).tolist())

        self._floors = {int(day): int(floor) for day, floor in arrays["floors"]}
        self._scores = {day: {} for day in self._floors}
        self._frauds = {day: set() for day in self._floors}
        for (day, odds), card in zip(arrays["scored"].tolist(), cards("scored"), strict=True):
            self._scores[day][card] = odds
        for day, card in zip(arrays["fraud_days"].tolist(), cards("fraud"), strict=True):
            self._frauds[day].add(card)

    def _score(self, day: int, cards: Texts, log_odds: Ints) -> None:
        held = self._scores[day]
        high = log_odds > self._floors[day]
        for card, odds in zip(cards[high].tolist(), log_odds[high].tolist(), strict=True):
            if odds > held.get(card, _LOWEST):
                held[card] = odds
                if len(held) >= 2 * _KEPT:
                    best = _highest(list(held.items()), _KEPT)
                    self._floors[day] = best[-1][1]
                    held.clear()
                    held.update(best)

    def _forget(self, newest: int) -> None:
        oldest = newest - self._days
        for day in [day for day in self._scores if day <= oldest]:
            del self._scores[day], self._floors[day], self._frauds[day]
        for day in range(max(oldest, max(self._scores, default=oldest)) + 1, newest + 1):
            self._scores[day], self._floors[day], self._frauds[day] = {}, _LOWEST, set()


_LOWEST = -(2**62)


def _highest(scored: list[tuple[str, int]], most: int) -> list[tuple[str, int]]:
    """The highest, the first ones among equals, highest first."""
    return sorted(scored, key=lambda item: -item[1])[:most]

"""How good a model's scores were, from counts of scores by outcome: bounded memory, any stream.

Each payment is counted once its outcome is known, with the score that was served for it before,
so every figure is prequential: tested first, learned from after (Gama, Sebastião, Rodrigues, *On
evaluating stream learning algorithms*, Machine Learning 90, 2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.champion import served_probability
from models.published import ONE
from models.topcards import TopCards
from tidegate.schema import DAY, Bools, Examples, Ints, Metric

REVIEWED = 0.01  # share of payments that is taken to be looked at, for the recall
_BINS = 2048
REACH = 16 * ONE  # log-odds beyond are counted at the end of the scale
_WEEK = 7


class Quality:
    """Counts of genuine and fraudulent payments by score: of all, and of the last seven days.

    A payment belongs to the day it was made on. Were it the day its outcome became known, a week
    would hold late frauds whose genuine neighbours it does not hold, and look better than it was.

    Each is counted as often as the payments that it stands for: a control group, which was let
    through by chance, for all that were declined (inverse propensity weights; Horvitz, Thompson,
    *JASA* 47, 1952).
    """

    def __init__(self) -> None:
        self._all = np.zeros((2, _BINS), np.int64)
        self._days = np.zeros((_WEEK, 2, _BINS), np.int64)
        # Log loss and expected frauds of the days, in 1/ONE: whole numbers, so that a correction
        # takes back exactly what was added.
        self._sums = np.zeros((_WEEK, 2), np.int64)
        self._cards = TopCards(_WEEK)
        self._day = -1  # the newest, of which payments are counted

    def count(self, examples: Examples) -> None:
        """Counts what is learned, under the view that is learned; an earlier view that it
        contradicts is taken back."""
        examples = examples.take(examples.stands > 0)
        if not len(examples):
            return
        days = examples.event_time // DAY
        self._turn(int(days.max()))
        again = examples.corrected
        self._add(days, examples.fraud.astype(np.int64), examples.log_odds, examples.stands)
        self._add(
            days[again],
            examples.before[again].astype(np.int64),
            examples.log_odds[again],
            -examples.stands[again],
        )
        self._cards.count(days, examples.card_token, examples.log_odds, examples.fraud, again)

    def metrics(self, name: str, at: int) -> list[Metric]:
        """What there is to say of the model; nothing before the first fraud.

        `average_precision` of everything so far; and, `_7d` of the payments of the last seven days
        whose outcome is known, `_1d` of those of the last whole day: average precision, recall if
        the highest `REVIEWED` of them are looked at, log loss, calibration (frauds expected over
        frauds found), card precision@100, and how many frauds there were.
        """
        rows = int(self._all.sum())
        if not self._all[1].any():
            return []
        found = [Metric(name, "average_precision", at, average_precision(*self._all), rows)]
        week = [self._day - back for back in range(_WEEK - 1, -1, -1)]
        # The newest day has only begun.
        for suffix, days in (("_7d", week), ("_1d", week[-2:-1])):
            rows, figures = self._of(days)
            found += [Metric(name, f"{what}{suffix}", at, v, rows) for what, v in figures.items()]
        return found

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """The counts as plain arrays."""
        counted = {
            "all": self._all,
            "days": self._days,
            "sums": self._sums,
            "day": np.array([self._day]),
        }
        return counted | self._cards.dump()

    def load(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """What `dump` gave."""
        self._all, self._days, self._sums = arrays["all"], arrays["days"], arrays["sums"]
        self._day = int(arrays["day"][0])
        self._cards.load(arrays)

    def _of(self, days: Sequence[int]) -> tuple[int, dict[str, float]]:
        """Payments of these days, and their figures; none without a fraud."""
        slots = [day % _WEEK for day in days]
        genuine, fraud = self._days[slots].sum(axis=0)
        rows, frauds = int(genuine.sum() + fraud.sum()), int(fraud.sum())
        if not frauds:
            return rows, {}
        loss, expected = (self._sums[slots].sum(axis=0) / ONE).tolist()
        return rows, {
            "average_precision": average_precision(genuine, fraud),
            "recall_1pct": recall(genuine, fraud),
            "log_loss": loss / rows,
            "calibration": expected / frauds,
            "card_precision_100": self._cards.precision(days),
            "frauds": float(frauds),
        }

    def _add(self, days: Ints, outcome: Ints, log_odds: Ints, number: Ints) -> None:
        place = binned(log_odds, _BINS)
        np.add.at(self._all, (outcome, place), number)
        held = days > self._day - _WEEK
        slot, outcome, place = days[held] % _WEEK, outcome[held], place[held]
        number = number[held]
        np.add.at(self._days, (slot, outcome, place), number)
        expected = np.rint(served_probability(clipped(log_odds[held])) * ONE).astype(np.int64)
        for column, value in enumerate((log_loss(log_odds[held], outcome == 1), expected)):
            np.add.at(self._sums[:, column], slot, number * value)

    def _turn(self, day: int) -> None:
        for passed in range(max(self._day + 1, day - _WEEK + 1), day + 1):
            self._days[passed % _WEEK] = 0
            self._sums[passed % _WEEK] = 0
        self._day = max(self._day, day)


def clipped(log_odds: Ints) -> Ints:
    """Log-odds, in 1/ONE, within the scale."""
    within: Ints = np.clip(log_odds, -REACH, REACH - 1)
    return within


def binned(log_odds: Ints, bins: int) -> Ints:
    """The number of the bin of so many equal ones, from -REACH to REACH, that each falls into."""
    return (clipped(log_odds) + REACH) * bins // (2 * REACH)


def log_loss(log_odds: Ints, fraud: Bools) -> Ints:
    """Of each payment, in 1/ONE: whole numbers, which add up the same in any order."""
    odds = clipped(log_odds)
    loss = np.logaddexp(0.0, np.where(fraud, -odds, odds) / ONE)
    units: Ints = np.rint(loss * ONE).astype(np.int64)
    return units


def average_precision(genuine: Ints, fraud: Ints) -> float:
    """Average precision of scores counted in bins of ascending score: the sum over thresholds of
    the gain in recall times the precision there. NaN when there is no fraud."""
    hits = np.cumsum(fraud[::-1])
    flagged = hits + np.cumsum(genuine[::-1])
    if hits[-1] == 0:
        return float("nan")
    gain = np.diff(hits, prepend=0) / hits[-1]
    return float(np.sum(gain * hits / np.maximum(flagged, 1)))


def recall(genuine: Ints, fraud: Ints, share: float = REVIEWED) -> float:
    """The part of the frauds found when that share of all, of the highest scores, is looked at; of
    the bin that the share ends in, a part. Counted as in `average_precision`."""
    hits = np.cumsum(fraud[::-1])
    flagged = hits + np.cumsum(genuine[::-1])
    if hits[-1] == 0:
        return float("nan")
    looked_at = share * flagged[-1]
    return float(np.interp(looked_at, [0, *flagged], [0, *hits]) / hits[-1])

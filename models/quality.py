"""How good a model's scores were, from counts of scores by outcome: bounded memory, any stream.

Each payment is counted once its outcome is known, with the score that was served for it before,
so every figure is prequential: tested first, learned from after.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.published import ONE
from tidegate.schema import DAY, Examples, Ints, Metric, View

_BINS = 2048
_REACH = 16 * ONE  # log-odds beyond are counted at the end of the scale
_WEEK = 7


class Quality:
    """Counts of genuine and fraudulent payments by score: of all, and of the last seven days.

    A payment belongs to the day it was made on. Were it the day its outcome became known, a week
    would hold late frauds whose genuine neighbours it does not hold, and look better than it was.
    """

    def __init__(self) -> None:
        self._all = np.zeros((2, _BINS), np.int64)
        self._days = np.zeros((_WEEK, 2, _BINS), np.int64)
        self._day = -1  # the newest, of which payments are counted

    def count(self, examples: Examples) -> None:
        """Counts what is learned, under the view that is learned; an earlier view that it
        contradicts is taken back."""
        if not len(examples):
            return
        days = examples.event_time // DAY
        self._turn(int(days.max()))
        place = np.clip((examples.log_odds + _REACH) * _BINS // (2 * _REACH), 0, _BINS - 1)
        again = (examples.before != View.UNKNOWN) & (examples.before != examples.fraud)
        fraud = examples.fraud.astype(np.int64)
        self._add(days, fraud, place, 1)
        self._add(days[again], examples.before[again].astype(np.int64), place[again], -1)

    def metrics(self, name: str, at: int) -> list[Metric]:
        """Average precision of everything so far, and of the payments of the last seven days whose
        outcome is known; none before the first fraud."""
        result = []
        for metric, counts in (
            ("average_precision", self._all),
            ("average_precision_7d", self._days.sum(axis=0)),
        ):
            if counts[1].sum() > 0:
                value = average_precision(counts[0], counts[1])
                result.append(Metric(name, metric, at, value, int(counts.sum())))
        return result

    @property
    def known(self) -> tuple[int, int]:
        """Outcomes known so far, and how many of them are frauds."""
        return int(self._all.sum()), int(self._all[1].sum())

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """The counts as plain arrays."""
        return {"all": self._all, "days": self._days, "day": np.array([self._day])}

    def load(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """What `dump` gave."""
        self._all, self._days = arrays["all"], arrays["days"]
        self._day = int(arrays["day"][0])

    def _add(self, days: Ints, outcome: Ints, place: Ints, number: int) -> None:
        np.add.at(self._all, (outcome, place), number)
        held = days > self._day - _WEEK
        np.add.at(self._days, (days[held] % _WEEK, outcome[held], place[held]), number)

    def _turn(self, day: int) -> None:
        for passed in range(max(self._day + 1, day - _WEEK + 1), day + 1):
            self._days[passed % _WEEK] = 0
        self._day = max(self._day, day)


def average_precision(genuine: Ints, fraud: Ints) -> float:
    """Average precision of scores counted in bins of ascending score: the sum over thresholds of
    the gain in recall times the precision there. NaN when there is no fraud."""
    hits = np.cumsum(fraud[::-1])
    flagged = hits + np.cumsum(genuine[::-1])
    if hits[-1] == 0:
        return float("nan")
    gain = np.diff(hits, prepend=0) / hits[-1]
    return float(np.sum(gain * hits / np.maximum(flagged, 1)))

"""How good a model would have been: tested on each payment of the sample before it learns of it.

What was served is judged by the scores of its day. A trial asks the model of the day on which the
outcome became known, every model at the same moment, so the figures of trials compare with one
another and are somewhat better than those of what was served.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.quality import Quality
from tidegate.schema import TRIAL, Examples, Ints, Metric


class Trial:
    """Counts what one model said of the payments of the sample."""

    def __init__(self) -> None:
        self._quality = Quality()

    def count(self, sampled: Examples, log_odds: Ints) -> None:
        """Takes payments in with what the model says of each, in 1/ONE. Those that were counted
        with another outcome stay as they are: what was said of them then is not known."""
        new = np.flatnonzero(~sampled.corrected)
        self._quality.count(replace(sampled, log_odds=log_odds).take(new))

    def metrics(self, name: str, at: int) -> list[Metric]:
        """As `Quality.metrics`, under names of their own."""
        found = self._quality.metrics(name, at)
        return [replace(metric, metric=TRIAL + metric.metric) for metric in found]

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """The counts as plain arrays."""
        return {TRIAL + name: array for name, array in self._quality.dump().items()}

    def load(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """What `dump` gave, among others; nothing of it where there was no trial yet."""
        own = {
            name.removeprefix(TRIAL): array
            for name, array in arrays.items()
            if name.startswith(TRIAL)
        }
        if own:
            self._quality.load(own)

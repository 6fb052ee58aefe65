"""What was served, looked at once its outcome is known: how good it was, and whether it drifts."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from models.drift import LOG_LOSS, Alarm, Drift
from models.layout import Indices, Layout
from models.quality import Quality
from tidegate.schema import Bools, Examples, Ints, Metric

DRIFT = "drift_"  # what the names of metrics begin with that are alarms


class Watch:
    """The quality and the drift of the scores that were served."""

    def __init__(self, layout: Layout) -> None:
        self._quality = Quality()
        self._drift = Drift(layout)
        self._alarms: list[Alarm] = []  # not told yet

    def count(self, examples: Examples) -> None:
        """Takes in what is learned."""
        self._quality.count(examples)

    def errs_more(self, event_time: Ints, picked: Indices, log_odds: Ints, fraud: Bools) -> bool:
        """Looks for drift in some of it, in order; says whether what was served errs more than it
        did."""
        alarms = self._drift.count(event_time, picked, log_odds, fraud)
        self._alarms += alarms
        return any(alarm.signal == LOG_LOSS for alarm in alarms)

    def alarms(self, name: str, now: int) -> list[Metric]:
        """What drifted since it was last asked; name: the model that serves."""
        told, self._alarms = self._alarms, []
        return [Metric(name, f"{DRIFT}{a.signal}", now, a.value, a.examples) for a in told]

    def quality(self, name: str, now: int) -> list[Metric]:
        """As `Quality.metrics`."""
        return self._quality.metrics(name, now)

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """The whole state as plain arrays."""
        return self._quality.dump() | self._drift.dump()

    def load(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """What `dump` gave."""
        self._quality.load(arrays)
        self._drift.load(arrays)

"""The step that learns: a version before each step is scored, and how good the model was."""

from __future__ import annotations

import logging

import numpy as np

from dataflows.lockstep import Lockstep
from dataflows.messages import Lesson, Outcome, Release
from dataflows.steps import Emitted, Remembering
from models.bins import Bins
from models.learner import DRIFT, Learner
from models.portable import pack, unpack
from tidegate import metrics
from tidegate.schema import Metric

log = logging.getLogger(__name__)

VERSION = 1

# What of a model's quality Prometheus is told.
_SHOWN = {
    "average_precision_7d": metrics.MODEL_AVERAGE_PRECISION,
    "recall_1pct_7d": metrics.MODEL_RECALL,
    "card_precision_100_7d": metrics.MODEL_CARD_PRECISION,
    "log_loss_7d": metrics.MODEL_LOG_LOSS,
    "calibration_7d": metrics.MODEL_CALIBRATION,
}


class LearnStep(Remembering[Lesson, Release | Outcome]):
    """Learns what became known, and releases a version before each step is scored."""

    def __init__(self, state: bytes | None, bins: tuple[Bins, ...]) -> None:
        if state is None:
            self._learner = Learner(bins)
            self._steps: Lockstep[Lesson] = Lockstep(1)
        else:
            arrays = unpack("learn", VERSION, state)
            self._learner = Learner.load(arrays["learner"].tobytes(), bins)
            self._steps = Lockstep(1, int(arrays["next"][0]))

    def on_batch(self, values: list[Lesson]) -> Emitted[Release | Outcome]:
        """A `Release` for the scoring shards and an `Outcome` for the sink, of each step."""
        return [sent for (lesson,) in self._steps.whole(values) for sent in self._step(lesson)], (
            False
        )

    def _step(self, lesson: Lesson) -> tuple[Release, Outcome]:
        changed = self._learner.learn(lesson.examples, lesson.now)
        version = self._learner.model_version() if changed or lesson.number == 0 else None
        measured = tuple(self._learner.measure(lesson.now))
        for metric in measured:
            _show(metric)
        return Release(lesson.number, version), Outcome(lesson.number, metrics=measured)

    def dump(self) -> bytes:
        """The learner and the next step's number."""
        learner = np.frombuffer(self._learner.dump(), np.uint8)
        return pack(
            "learn", VERSION, {"learner": learner, "next": np.array([self._steps.settle()])}
        )


def _show(metric: Metric) -> None:
    """Tells Prometheus, and the log of an alarm."""
    if gauge := _SHOWN.get(metric.metric):
        gauge.labels(metric.name).set(metric.value)
    elif metric.metric.startswith(DRIFT):
        signal = metric.metric.removeprefix(DRIFT)
        metrics.MODEL_DRIFT.labels(metric.name, signal).inc()
        facts = {"model": metric.name, "signal": signal, "value": round(metric.value, 3)}
        log.warning("drift: what the model sees is not what it was", extra=facts)

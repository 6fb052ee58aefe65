"""The steps that learn: the champion's, and one for every challenger, each with its own state.

Whichever model serves releases a version before each step is scored; the others only tell how good
they would have been. A challenger is in nobody's way: what it learns of a step is bounded, and no
score waits for it unless it serves.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from dataflows.lockstep import Lockstep
from dataflows.messages import Lesson, Outcome, Release
from dataflows.noting import noting
from dataflows.steps import Emitted, Remembering
from models.learner import Additive, Learner
from models.outside import OutsideLearner
from models.pickled import NotOurs
from models.portable import pack, unpack
from models.roster import Challenger
from models.watch import DRIFT
from tidegate import metrics
from tidegate.schema import CHAMPION, SECOND, SUSPENDED, TRIAL, Examples, Metric, ModelVersion, View

log = logging.getLogger(__name__)

VERSION = 1

# What of a model's quality Prometheus is told.
_SHOWN = {
    "average_precision_7d": metrics.MODEL_AVERAGE_PRECISION,
    "recall_1pct_7d": metrics.MODEL_RECALL,
    "card_precision_100_7d": metrics.MODEL_CARD_PRECISION,
    "log_loss_7d": metrics.MODEL_LOG_LOSS,
    "calibration_7d": metrics.MODEL_CALIBRATION,
    f"{TRIAL}average_precision_7d": metrics.MODEL_TRIAL_AVERAGE_PRECISION,
}


class Teachable(Protocol):
    """A model in training."""

    def learn(self, examples: Examples, now: int) -> bool:
        """Tests, then learns; says whether there is a new version."""

    def measure(self, now: int, serving: str) -> list[Metric]:
        """What there is to tell, of the model and of what the serving one did."""

    def dump(self) -> bytes:
        """The whole state."""


class _ModelStep(Remembering[Lesson, Release | Outcome]):
    """A model that learns; what it gives for each lesson."""

    def __init__(self) -> None:
        self._steps: Lockstep[Lesson] = Lockstep(1)
        self._served = False  # the last step

    def _taught(self, learner: Teachable, values: list[Lesson]) -> Emitted[Release | Outcome]:
        lessons = self._steps.whole(values)
        return [sent for (lesson,) in lessons for sent in self._step(learner, lesson)], False

    def _step(self, learner: Teachable, lesson: Lesson) -> Iterable[Release | Outcome]:
        changed = learner.learn(lesson.examples, lesson.now)
        if lesson.model == CHAMPION:
            _show_delay(lesson)
        serves = lesson.model == lesson.serving
        if serves:
            due = changed or not self._served
            yield Release(lesson.number, _version(learner) if due else None)
        self._served = serves
        measured = tuple(learner.measure(lesson.now, lesson.serving))
        for metric in measured:
            _show(metric)
        # The champion's outcomes say how far all of it has come; others only bring metrics.
        if measured or lesson.model == CHAMPION:
            yield Outcome(lesson.number, metrics=measured)


class LearnStep(_ModelStep):
    """The champion, which watches what is served as well. tried: beside others."""

    def __init__(self, state: bytes | None, of: Additive, *, tried: bool = False) -> None:
        super().__init__()
        if state is None:
            self._learner = Learner(of, tried=tried)
        else:
            arrays = unpack("learn", VERSION, state)
            self._learner = Learner.load(arrays["learner"].tobytes(), of, tried=tried)
            self._steps = Lockstep(1, int(arrays["next"][0]))
            # Before there were others it always served.
            self._served = bool(arrays["served"][0]) if "served" in arrays else True

    @noting
    def on_batch(self, values: list[Lesson]) -> Emitted[Release | Outcome]:
        """An `Outcome` of each step for the sink, and a `Release` for the scoring shards of each
        step that it serves."""
        return self._taught(self._learner, values)

    def dump(self) -> bytes:
        """The learner and the next step's number."""
        arrays = {
            "learner": np.frombuffer(self._learner.dump(), np.uint8),
            "next": np.array([self._steps.settle()]),
            "served": np.array([self._served]),
        }
        return pack("learn", VERSION, arrays)


class ChallengeStep(_ModelStep):
    """A challenger. It may be switched on and off between starts, so it begins wherever the stream
    is, and goes on from what it knew; what came meanwhile it has missed."""

    def __init__(self, state: bytes | None, roster: tuple[Challenger, ...]) -> None:
        super().__init__()
        self._state = state  # until the first lesson, so that one that is off costs nothing
        self._roster = {challenger.name: challenger for challenger in roster}
        self._learner: Learner | OutsideLearner | None = None

    @noting
    def on_batch(self, values: list[Lesson]) -> Emitted[Release | Outcome]:
        """As of the champion, but outcomes only where there is something to tell."""
        if self._learner is None:
            first = min(values, key=lambda lesson: lesson.number)
            self._learner = self._begin(self._roster[first.model])
            self._steps = Lockstep(1, first.number)
        return self._taught(self._learner, values)

    def _begin(self, of: Challenger) -> Learner | OutsideLearner:
        state, self._state = self._state, None
        if state is None:
            if isinstance(of, Additive):
                return Learner(of, watches=False)
            return OutsideLearner(of, time.thread_time)
        arrays = unpack("challenge", VERSION, state)
        content = arrays["learner"].tobytes()
        if isinstance(of, Additive):
            self._served = bool(arrays["served"][0])
            return Learner.load(content, of, watches=False)
        try:
            return OutsideLearner.load(content, of, time.thread_time)
        except NotOurs as why:
            log.warning("a challenger begins anew", extra={"model": of.name, "why": str(why)})
            return OutsideLearner(of, time.thread_time)

    def dump(self) -> bytes:
        """The learner, and whether it served."""
        if self._learner is None:
            assert self._state is not None  # a step without state begins with a lesson
            return self._state
        self._steps.settle()
        arrays = {
            "learner": np.frombuffer(self._learner.dump(), np.uint8),
            "served": np.array([self._served]),
        }
        return pack("challenge", VERSION, arrays)


def readable(state: bytes) -> None:
    """Raises BadState where a challenger's state is not what was saved. It knows no step's number:
    it may have been off for a while."""
    unpack("challenge", VERSION, state)


def _version(learner: Teachable) -> ModelVersion:
    assert isinstance(learner, Learner)  # others are never promoted
    return learner.model_version()


def _show_delay(lesson: Lesson) -> None:
    """How long it took to know of frauds that were not known before."""
    examples = lesson.examples
    found = examples.fraud & (examples.before != View.FRAUD)
    for at in examples.event_time[found].tolist():
        metrics.LABEL_DELAY_SECONDS.observe((lesson.now - at) / SECOND)


def _show(metric: Metric) -> None:
    """Tells Prometheus, and the log of what somebody should look at."""
    if gauge := _SHOWN.get(metric.metric):
        gauge.labels(metric.name).set(metric.value)
    elif metric.metric.startswith(DRIFT):
        signal = metric.metric.removeprefix(DRIFT)
        metrics.MODEL_DRIFT.labels(metric.name, signal).inc()
        facts = {"model": metric.name, "signal": signal, "value": round(metric.value, 3)}
        log.warning("drift: what the model sees is not what it was", extra=facts)
    elif metric.metric == SUSPENDED:
        metrics.MODEL_SUSPENDED.labels(metric.name).set(1)
        facts = {"model": metric.name, "took": round(metric.value, 1), "after": metric.examples}
        log.warning("a challenger took more than its cap and is suspended", extra=facts)

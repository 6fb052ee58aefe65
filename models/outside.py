"""A model of River that learns beside the champion, within its caps of time and room.

It learns from the sample (`models.sampling`), in which one genuine payment stands for many, and
what it says is put right for that: frauds are so many times as frequent there, so their odds are
divided by as much (King, Zeng, *Logistic Regression in Rare Events Data*, Political Analysis 9,
2001).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from river.base import AnomalyDetector
from river.compose import Pipeline

from models.features import columns_of
from models.pickled import NotOurs, pickled, unpickled
from models.portable import pack, unpack
from models.published import ONE
from models.sampling import SHARE, Sample, sample
from models.trial import Trial
from tidegate.schema import DAY, SUSPENDED, Examples, Features, Metric

VERSION = 1

_WARM = 500  # payments after which its time is judged
_WEIGHED = 2_000  # payments between two looks at its size
_LEAST = 1e-6  # probability; what is nearer to 0 or 1 is taken to be so far


@dataclass(frozen=True)
class Outside:
    """What to make. make: a new classifier or anomaly detector of River, which learns from these
    features, each as the signed logarithm of one plus its size. microseconds: of CPU time a
    payment, tested and learned, on average; megabytes: of its pickled state."""

    name: str
    description: str
    make: Callable[[], Any]
    features: tuple[str, ...]
    microseconds: float
    megabytes: float


class OutsideLearner:
    """The model in training, until it is suspended; how good it would have been.

    clock: seconds of CPU time that its thread has taken.
    """

    def __init__(self, of: Outside, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._of = of
        self._model: Any = of.make()
        self._columns = columns_of(of.features)
        self._trial = Trial()
        self._rows = 0
        self._seconds = 0.0
        self._weighed = 0  # rows when it was last weighed
        self._measured = 0  # the day that metrics were last given for
        self._excess: tuple[str, float] | None = None  # why it is suspended
        self._told = False

    @property
    def suspended(self) -> str | None:
        """Why it learns no more, in words."""
        if self._excess is None:
            return None
        unit, took = self._excess
        cap = self._of.microseconds if unit == _TIME else self._of.megabytes
        return f"took {took:.3g} {unit} where {cap:g} are allowed"

    def learn(self, examples: Examples, now: int) -> bool:
        """Tests, then learns, of each payment of the sample of what became known. There is never a
        version: it cannot serve."""
        tested = sample(examples.take(examples.weight > 0))
        if self._excess is not None or not len(tested.rows):
            return False
        begin = self._clock()
        log_odds = self._learn(tested)
        self._seconds += self._clock() - begin
        self._rows += len(tested.rows)
        self._trial.count(tested.examples, log_odds)
        self._judge()
        return False

    def measure(self, now: int, serving: str = "") -> list[Metric]:
        """That it was suspended, once; and once for each day of the stream how good it is."""
        name = self._of.name
        if self._excess is not None:
            if self._told:
                return []
            self._told = True
            return [Metric(name, SUSPENDED, now, self._excess[1], self._rows)]
        if now // DAY == self._measured:
            return []
        self._measured = now // DAY
        return self._trial.metrics(name, now)

    def dump(self) -> bytes:
        """The whole state; one that has become too large is suspended by it."""
        content = self._weigh()
        unit, took = self._excess or ("", 0.0)
        arrays: dict[str, npt.NDArray[Any]] = {
            "model": np.frombuffer(content, np.uint8),
            "counts": np.array([self._rows, self._weighed, self._measured, int(self._told)]),
            "spent": np.array([self._seconds, took]),
            "excess": np.frombuffer(unit.encode(), np.uint8),
            "caps": np.array(self._caps),
        }
        return pack("outside", VERSION, arrays | self._trial.dump())

    @classmethod
    def load(cls, data: bytes, of: Outside, clock: Callable[[], float]) -> OutsideLearner:
        """What `dump` wrote. Raises BadState when the bytes are damaged, and NotOurs where they
        are of other releases of River or Python or of other caps, so that it must begin anew."""
        arrays = unpack("outside", VERSION, data)
        learner = cls(of, clock)
        if arrays["caps"].tolist() != learner._caps:
            raise NotOurs("it was saved under other caps")
        counts = arrays["counts"].tolist()
        learner._rows, learner._weighed, learner._measured, told = counts
        learner._told = bool(told)
        learner._seconds, took = arrays["spent"].tolist()
        unit = arrays["excess"].tobytes().decode()
        learner._excess = (unit, took) if unit else None
        learner._model = None if unit else unpickled(arrays["model"].tobytes())
        learner._trial.load(arrays)
        return learner

    @property
    def _caps(self) -> list[float]:
        return [float(self._of.microseconds), float(self._of.megabytes)]

    def _learn(self, tested: Sample) -> npt.NDArray[np.int64]:
        model, said = self._model, np.zeros(len(tested.rows))
        unsupervised = isinstance(_last(model), AnomalyDetector)
        fraud = tested.examples.fraud.tolist()
        for row, x in enumerate(self._inputs(tested.examples.features)):
            if unsupervised:
                said[row] = model.score_one(x)
                model.learn_one(x)
            else:
                said[row] = model.predict_proba_one(x).get(True, 0.0)
                model.learn_one(x, fraud[row])
        said = np.clip(said, _LEAST, 1 - _LEAST)
        return np.rint((np.log(said / (1 - said)) - math.log(SHARE)) * ONE).astype(np.int64)

    def _inputs(self, features: Features) -> Iterator[dict[str, float]]:
        values = np.nan_to_num(features[:, self._columns].astype(np.float64), nan=-1.0)
        for row in (np.sign(values) * np.log1p(np.abs(values))).tolist():
            yield dict(zip(self._of.features, row, strict=True))

    def _judge(self) -> None:
        took = 1e6 * self._seconds / self._rows
        if self._rows >= _WARM and took > self._of.microseconds:
            self._suspend(_TIME, took)
        elif self._rows >= self._weighed + _WEIGHED:
            self._weigh()

    def _weigh(self) -> bytes:
        """The model's state, nothing of one that is suspended, be it by this."""
        if self._excess is not None:
            return b""
        content = pickled(self._model)
        self._weighed = self._rows
        if len(content) > 1e6 * self._of.megabytes:
            self._suspend(_ROOM, len(content) / 1e6)
            return b""
        return content

    def _suspend(self, unit: str, took: float) -> None:
        self._excess, self._model = (unit, took), None


def _last(model: Any) -> Any:
    return list(model.steps.values())[-1] if isinstance(model, Pipeline) else model


_TIME, _ROOM = "microseconds a payment", "megabytes"

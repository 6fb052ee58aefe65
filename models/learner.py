"""One model that learns from what became known, is tested before it learns, and is published."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.bins import DEFAULT, Bins
from models.champion import Champion
from models.drift import LOG_LOSS, Alarm, Drift
from models.features import columns_of
from models.layout import layout_of
from models.portable import pack, unpack
from models.published import Published
from models.quality import Quality
from tidegate.schema import DAY, Examples, Metric, ModelVersion

NAME = "champion"
DRIFT = "drift_"  # what the names of metrics begin with that are alarms
BATCH = 256  # rows a step of learning takes at most; larger ones cost precision

VERSION = 1


class Learner:
    """The champion in training: weights, the sums behind its steps, and how good it was."""

    def __init__(self, bins: tuple[Bins, ...] = DEFAULT) -> None:
        self._model = Champion(bins)
        self._columns = columns_of(b.feature for b in bins)
        self._quality = Quality()
        self._drift = Drift(layout_of(bins))
        self._alarms: list[Alarm] = []  # not told yet
        self._known_to = 0
        self._measured = 0  # the day that metrics were last given for
        self._published = self._model.publish()

    @property
    def published(self) -> Published:
        """The version that scores are served from."""
        return self._published

    def learn(self, examples: Examples, now: int) -> bool:
        """Tests, then learns, what became known up to `now` (microseconds since the epoch).

        Says whether there is a new version. Batches are cut by count, so what is learned depends
        on the examples of each call and their order and on nothing else."""
        self._known_to = now
        examples = examples.take(examples.weight > 0)
        if not len(examples):
            return False
        self._quality.count(examples)
        for start in range(0, len(examples), BATCH):
            part = slice(start, start + BATCH)
            picked = self._model.indices(examples.features[part][:, self._columns])
            fraud = examples.fraud[part]
            alarms = self._drift.count(
                examples.event_time[part], picked, examples.log_odds[part], fraud
            )
            if any(alarm.signal == LOG_LOSS for alarm in alarms):
                self._model.quicken()
            self._alarms += alarms
            self._model.learn_rows(picked, fraud, examples.weight[part])
        self._published = self._model.publish()
        return True

    def measure(self, now: int) -> list[Metric]:
        """What drifted since it was last asked, and once for each day of the stream the model's
        quality."""
        drifted = [
            Metric(NAME, f"{DRIFT}{a.signal}", now, a.value, a.examples) for a in self._alarms
        ]
        self._alarms = []
        day = now // DAY
        if day == self._measured:
            return drifted
        self._measured = day
        return [*drifted, *self._quality.metrics(NAME, now)]

    def model_version(self) -> ModelVersion:
        """The published version with what it rests on."""
        examples, frauds = self._quality.known
        return ModelVersion(
            self._published.version,
            NAME,
            self._known_to,
            self._published.content,
            examples,
            frauds,
        )

    def dump(self) -> bytes:
        """The whole state, portable and checksummed."""
        model = np.frombuffer(self._model.dump(), np.uint8)
        times = np.array([self._known_to, self._measured], np.int64)
        arrays: dict[str, npt.NDArray[Any]] = {"model": model, "times": times}
        arrays |= self._quality.dump() | self._drift.dump()
        return pack("learner", VERSION, arrays)

    @classmethod
    def load(cls, data: bytes, bins: tuple[Bins, ...] = DEFAULT) -> Learner:
        """What `dump` wrote. Raises BadState when the bytes are damaged, or are of other bins."""
        arrays = unpack("learner", VERSION, data)
        learner = cls(bins)
        learner._model = Champion.load(arrays.pop("model").tobytes(), bins)
        learner._known_to, learner._measured = arrays.pop("times").tolist()
        learner._quality.load(arrays)
        learner._drift.load(arrays)
        learner._published = learner._model.publish()
        return learner

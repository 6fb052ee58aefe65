"""An additive model in training: tested before it learns what became known, and published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.bins import DEFAULT, Bins
from models.champion import Champion
from models.features import columns_of
from models.layout import layout_of
from models.portable import pack, unpack
from models.published import ONE, Published
from models.sampling import sample
from models.trial import Trial
from models.watch import Watch
from tidegate import schema
from tidegate.schema import DAY, Examples, Metric, ModelVersion

BATCH = 256  # rows a step of learning takes at most; larger ones cost precision

VERSION = 1


@dataclass(frozen=True)
class Additive:
    """A model like the champion, which can serve. rate: AdaGrad's."""

    name: str
    description: str
    bins: tuple[Bins, ...] = DEFAULT
    rate: float = 0.05


CHAMPION = Additive(schema.CHAMPION, "additive, all features; serves until another is promoted")


class Learner:
    """A model's weights and the sums behind its steps; how good it would have been, where it is
    tried, which costs some 15 % and only tells something beside others; and how good what was
    served was, where it watches, which one of all models does."""

    def __init__(
        self, of: Additive = CHAMPION, *, watches: bool = True, tried: bool = True
    ) -> None:
        self._of = of
        self._model = Champion(of.bins, of.rate)
        self._columns = columns_of(b.feature for b in of.bins)
        self._tried = tried
        self._trial = Trial()
        self._watch = Watch(layout_of(of.bins)) if watches else None
        self._known = np.zeros(2, np.int64)  # outcomes learned, and how many of them are frauds
        self._known_to = 0
        self._measured = 0  # the day that metrics were last given for
        self._published = self._model.publish()

    @property
    def published(self) -> Published:
        """The newest version."""
        return self._published

    def learn(self, examples: Examples, now: int) -> bool:
        """Tests, then learns, what became known up to `now` (microseconds since the epoch).

        Says whether there is a new version. Batches are cut by count, so what is learned depends
        on the examples of each call and their order and on nothing else."""
        self._known_to = now
        examples = examples.take(examples.weight > 0)
        if not len(examples):
            return False
        self._count(examples)
        tested = sample(examples if self._tried else examples.take(np.zeros(0, np.int64)))
        log_odds = np.zeros(len(tested.rows), np.int64)
        for start in range(0, len(examples), BATCH):
            part = slice(start, start + BATCH)
            picked = self._model.indices(examples.features[part][:, self._columns])
            fraud = examples.fraud[part]
            if len(tested.rows):
                here = slice(*np.searchsorted(tested.rows, [start, start + BATCH]))
                said = self._model.log_odds(picked[tested.rows[here] - start])
                log_odds[here] = np.rint(said * ONE)
            if self._watch is not None and self._watch.errs_more(
                examples.event_time[part], picked, examples.log_odds[part], fraud
            ):
                self._model.quicken()
            self._model.learn_rows(picked, fraud, examples.weight[part])
        self._trial.count(tested.examples, log_odds)
        self._published = self._model.publish()
        return True

    def measure(self, now: int, serving: str = CHAMPION.name) -> list[Metric]:
        """What drifted since it was last asked, and once for each day of the stream the quality of
        the model's trial and, under the name of the model that serves, of what was served."""
        watch = self._watch
        found = [] if watch is None else watch.alarms(serving, now)
        if now // DAY == self._measured:
            return found
        self._measured = now // DAY
        found += self._trial.metrics(self._of.name, now)
        return found if watch is None else [*found, *watch.quality(serving, now)]

    def model_version(self) -> ModelVersion:
        """The published version with what it rests on."""
        examples, frauds = self._known.tolist()
        content = self._published.content
        return ModelVersion(
            self._published.version, self._of.name, self._known_to, content, examples, frauds
        )

    def dump(self) -> bytes:
        """The whole state, portable and checksummed."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "model": np.frombuffer(self._model.dump(), np.uint8),
            "times": np.array([self._known_to, self._measured], np.int64),
            "known": self._known,
        }
        arrays |= self._trial.dump()
        if self._watch is not None:
            arrays |= self._watch.dump()
        return pack("learner", VERSION, arrays)

    @classmethod
    def load(
        cls, data: bytes, of: Additive = CHAMPION, *, watches: bool = True, tried: bool = True
    ) -> Learner:
        """What `dump` wrote. Raises BadState when the bytes are damaged, or are of other bins."""
        arrays = unpack("learner", VERSION, data)
        learner = cls(of, watches=watches, tried=tried)
        learner._model = Champion.load(arrays.pop("model").tobytes(), of.bins)
        learner._known_to, learner._measured = arrays.pop("times").tolist()
        # What was saved before it was counted apart was of payments that counted as one each.
        learner._known = arrays["known"] if "known" in arrays else _totals(arrays["all"])
        learner._trial.load(arrays)
        if learner._watch is not None:
            learner._watch.load(arrays)
        learner._published = learner._model.publish()
        return learner

    def _count(self, examples: Examples) -> None:
        again = examples.corrected
        frauds = int(examples.fraud.sum()) - int(examples.before[again].sum())
        self._known += len(examples) - int(again.sum()), frauds
        if self._watch is not None:
            self._watch.count(examples)


def _totals(counted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.array([counted.sum(), counted[1].sum()])

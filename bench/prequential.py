"""The same test for every model: score each batch of rows, learn each when it is mature.

Every model sees the same rows in the same order, whether it takes them one at a time or all at
once, and learns a row when the delay has passed since its payment. `by_hour` cuts batches as the
flow does, which is what precision is measured on; `in_blocks` cuts whole blocks, which is what
times are measured on. Turning features into what a model wants to be handed (dictionaries, tables)
is not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from bench.history import DELAY
from bench.rounds import Spent
from bench.served import Rows
from dataflows.files import TICK
from models.quality import average_precision
from tidegate.schema import Bools, Features, Ints

BLOCK = 256  # what the learner takes at most

Batch: TypeAlias = tuple[int, int, bool]  # first row, one past the last, and whether to learn
Scores = npt.NDArray[np.float64]


class Model(Protocol):
    """A model in the test."""

    def prepare(self, features: Features) -> Any:
        """The block as the model takes it; not measured."""

    def learn(self, block: Any, fraud: Bools) -> None:
        """Learns from a block."""

    def publish(self) -> None:
        """Makes what was learned ready for scoring."""

    def predict(self, block: Any) -> Scores:
        """Scores a block; only their order matters."""


@dataclass
class Trial:
    """What each part took, rows and versions it took it for, and average precision over the rows
    scored after something was learned."""

    learn: Spent = field(default_factory=Spent)
    learned: int = 0
    publish: Spent = field(default_factory=Spent)
    published: int = 0
    predict: Spent = field(default_factory=Spent)
    predicted: int = 0
    precision: float = 0.0

    @property
    def clock(self) -> float:
        """Seconds of everything by the clock."""
        return self.learn.clock + self.publish.clock + self.predict.clock

    @property
    def cpu(self) -> float:
        """Seconds of everything in CPU time."""
        return self.learn.cpu + self.publish.cpu + self.predict.cpu

    @property
    def row(self) -> float:
        """Microseconds of CPU to learn and score a row and to publish what was learned."""
        learned = (self.learn.cpu + self.publish.cpu) / max(self.learned, 1)
        return 1e6 * (learned + self.predict.cpu / self.predicted)


def trial(model: Model, rows: Rows, batches: Callable[[Ints], Iterator[Batch]]) -> Trial:
    """Runs the model over the rows, in these batches."""
    done = Trial()
    scores = np.zeros(len(rows))
    told = len(rows)  # first row scored by a model that has learned anything
    for start, stop, learning in batches(rows.event_time):
        part = slice(start, stop)
        block, fraud = model.prepare(rows.features[part]), rows.fraud[part]
        if learning:
            with done.learn:
                model.learn(block, fraud)
            with done.publish:
                model.publish()
            done.learned, done.published = stop, done.published + 1
        else:
            with done.predict:
                scores[part] = model.predict(block)
            done.predicted = stop
            told = min(told, start) if done.learned else told
    done.precision = precision_of(scores[told:], rows.fraud[told:])
    return done


def in_blocks(event_time: Ints) -> Iterator[Batch]:
    """Whole blocks: before one is scored, all whole blocks mature when it begins are learned."""
    learned = 0
    for start in range(0, len(event_time), BLOCK):
        known = int(np.searchsorted(event_time, event_time[start] - DELAY, side="right"))
        while known - learned >= BLOCK:
            yield learned, learned + BLOCK, True
            learned += BLOCK
        yield start, min(start + BLOCK, len(event_time)), False


def by_hour(event_time: Ints) -> Iterator[Batch]:
    """The flow's ticks: before an hour is scored, all that is mature when it begins is learned, in
    blocks as far as they are whole."""
    hours, starts = np.unique(event_time // TICK, return_index=True)
    learned = 0
    ends = [*starts[1:].tolist(), len(event_time)]
    for hour, start, end in zip(hours.tolist(), starts.tolist(), ends, strict=True):
        known = int(np.searchsorted(event_time, hour * TICK - DELAY, side="right"))
        for begin in range(learned, known, BLOCK):
            yield begin, min(begin + BLOCK, known), True
        learned = max(learned, known)
        yield start, end, False


def precision_of(scores: Scores, fraud: Bools) -> float:
    """Average precision; 0 without any fraud."""
    if not fraud.any():
        return 0.0
    _, place = np.unique(scores, return_inverse=True)
    counts = [np.bincount(place[of], minlength=len(scores)) for of in (~fraud, fraud)]
    return average_precision(counts[0], counts[1])

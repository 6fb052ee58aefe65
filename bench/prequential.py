"""The same test for every model: score each block of rows, learn each when it is mature.

The order is the stream's: before a block of 256 rows is scored, the model learns all whole blocks
of rows that were paid at least the delay before the block begins. Every model sees the same rows
in the same order, whether it takes them one at a time or all at once. Turning features into what a
model wants to be handed (dictionaries, tables) is not measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bench.history import DELAY
from bench.rounds import Spent
from bench.served import Rows
from models.quality import average_precision
from tidegate.schema import Bools, Features, Ints

BLOCK = 256  # what the learner takes at most

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


def trial(model: Model, rows: Rows) -> Trial:
    """Runs the model over the rows."""
    done = Trial()
    scores = np.zeros(len(rows))
    told = len(rows)  # first row scored by a model that has learned anything
    for start, stop, learning in schedule(rows.event_time):
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


def schedule(event_time: Ints) -> Iterator[tuple[int, int, bool]]:
    """Blocks of rows, start and stop, in order; True to learn, False to score."""
    learned = 0
    for start in range(0, len(event_time), BLOCK):
        known = int(np.searchsorted(event_time, event_time[start] - DELAY, side="right"))
        while known - learned >= BLOCK:
            yield learned, learned + BLOCK, True
            learned += BLOCK
        yield start, min(start + BLOCK, len(event_time)), False


def precision_of(scores: Scores, fraud: Bools) -> float:
    """Average precision; 0 without any fraud."""
    if not fraud.any():
        return 0.0
    _, place = np.unique(scores, return_inverse=True)
    counts = [np.bincount(place[of], minlength=len(scores)) for of in (~fraud, fraud)]
    return average_precision(counts[0], counts[1])

"""Where decisions go and where feedback comes from, as the flow sees it.

A `Store` is a `Writer`, which the sink hands outcomes to, and a `History`, which the source asks
what was served. There are two: `dataflows.writer` with `dataflows.history` for runs, and
`dataflows.memory` for evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from dataflows.messages import Marks, Outcome
from tidegate.schema import Served

FACTS = "facts"  # the sink partition of labels and dead letters
LEARNING = "learning"  # the one of the learner's metrics


def partitions(shards: Sequence[str]) -> list[str]:
    """All sink partitions, in Bytewax's order."""
    return sorted([*shards, FACTS, LEARNING])


class Writer(Protocol):
    """Stores outcomes in the background."""

    def begin(self, partition: str, sequence: int | None) -> None:
        """Says where a partition resumes: the number of the last step in its snapshot, None for a
        fresh recovery store."""

    def write(self, partition: str, outcomes: list[Outcome]) -> None:
        """Takes outcomes of one partition in the order of their steps. Blocks while the queue is
        full; raises what stopped the writer, if anything did."""

    def settle(self, partition: str) -> int:
        """Waits until everything taken for the partition is durable; gives its last step, -1 when
        there was none."""


class History(Protocol):
    """Answers what was served, without blocking: whoever asks polls the answer."""

    def durable(self) -> int:
        """The last step of which everything is durable, -1 when there is none."""

    def marks(self) -> Marks:
        """How far the messages of Kafka's partitions are stored, as far as is known."""

    def serving(self) -> str:
        """The model to score with. Waits for the answer the first time, and then gives the last
        that is known."""

    def between(self, after: int, until: int) -> Future[Served]:
        """Payments with after < event time <= until (microseconds), by event time and id."""

    def by_ids(self, ids: Sequence[str], now: int) -> Future[Served]:
        """The payments with these ids as far as they are there, of those decided before `now`
        (stream time, microseconds): after a crash, some are known that this stream has yet to come
        to."""

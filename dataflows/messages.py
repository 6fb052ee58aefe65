"""What travels between the steps of the dataflow.

A source cuts its stream into numbered steps. Everything a step causes carries its number, so that
whoever waits for several parts of it can tell when all have come (`dataflows.lockstep`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.schema import (
    Batch,
    DeadLetters,
    Decisions,
    Examples,
    Features,
    Ints,
    Labels,
    Metric,
    ModelVersion,
    Served,
    nothing,
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where rows came from: `partition` and `offset` of `topic` (a file is partition 0 of itself),
    written at `at`, microseconds since the epoch."""

    topic: str
    partition: Ints
    offset: Ints
    at: Ints

    def take(self, rows: Ints) -> Origin:
        """Where the given rows came from."""
        return Origin(self.topic, self.partition[rows], self.offset[rows], self.at[rows])


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of the stream: what became known before, and the payments to score after it.

    now: the stream's time, microseconds since the epoch; nothing later is used, payments of this
    step apart. received: when it was read, seconds since the epoch by the wall clock.
    """

    number: int
    now: int
    received: float
    batch: Batch
    origin: Origin
    examples: Examples | None
    labels: Labels | None = None
    dead: DeadLetters | None = None


@dataclass(frozen=True, slots=True)
class CardWork:
    """A card shard's part of a step; `position` is a row's place in the step."""

    number: int
    now: int
    received: float
    batch: Batch
    position: Ints
    origin: Origin
    examples: Examples


@dataclass(frozen=True, slots=True)
class TerminalWork:
    """A terminal shard's part of a step, from one card shard: rows with the features of their
    cards. `refused` and `repeats` go along on their way to the sink."""

    number: int
    now: int
    received: float
    batch: Batch
    position: Ints
    features: Features
    refused: DeadLetters | None = None
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class TerminalNews:
    """What became known of a terminal shard's payments before a step."""

    number: int
    examples: Examples


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the models learn before a step."""

    number: int
    now: int
    examples: Examples


@dataclass(frozen=True, slots=True)
class Release:
    """The model version that a step is scored with; None says the one before."""

    number: int
    version: ModelVersion | None


@dataclass(frozen=True, slots=True)
class Scorable:
    """A terminal shard's rows of a step with all their features, in the order of the stream."""

    number: int
    now: int
    received: float
    batch: Batch
    features: Features
    refused: DeadLetters | None
    repeats: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be stored of one part of a step."""

    number: int
    received: float = 0.0
    decisions: Decisions | None = None
    version: ModelVersion | None = None
    labels: Labels | None = None
    dead: DeadLetters | None = None
    metrics: tuple[Metric, ...] = ()
    repeats: int = 0


def no_rows() -> Batch:
    """A batch without rows."""
    none, zero = nothing(0), np.zeros(0, np.int64)
    return Batch(none, zero, zero, none, none, none, np.zeros(0, np.uint64))


def no_examples() -> Examples:
    """No examples."""
    none, zero = nothing(0), np.zeros(0, np.int64)
    return Examples(
        none,
        zero,
        none,
        none,
        np.zeros((0, 0), np.float32),
        zero,
        np.zeros(0, np.int8),
        np.zeros(0, np.bool_),
        np.zeros(0, np.float32),
    )


def order_of(event_time: Ints, ids: Sequence[str]) -> Ints:
    """The order by event time and then id, as the database's "C" collation has it."""
    by_name = np.array(
        sorted(range(len(ids)), key=[name.encode() for name in ids].__getitem__), int
    )
    return by_name[np.argsort(event_time[by_name], kind="stable")]


def nothing_served() -> Served:
    """No payments."""
    zero = np.zeros(0, np.int64)
    return Served(
        nothing(0), zero, nothing(0), nothing(0), np.zeros((0, 0), np.float32), zero, zero
    )

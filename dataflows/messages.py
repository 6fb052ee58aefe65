"""What travels between the steps of the dataflow.

A source cuts its stream into numbered steps. Everything a step causes carries its number, so that
whoever waits for several parts of it can tell when all have come (`dataflows.lockstep`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from tidegate.schema import (
    CHAMPION,
    Batch,
    Columns,
    DeadLetters,
    Decisions,
    Examples,
    Features,
    Ints,
    Labels,
    Metric,
    ModelVersion,
    Served,
    Texts,
    nothing,
)

# How far the messages of each (topic, partition) have come: the offset of the next one.
Marks: TypeAlias = Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Envelope(Columns):
    """What a message was sent in, which its decision is sent back in. A file has none."""

    key: Texts  # bytes or None
    headers: Texts  # a list of (name, bytes or None) or None


@dataclass(frozen=True, slots=True)
class Repeated(Columns):
    """Payments that were seen before: their decisions are sent again."""

    transaction_id: Texts
    event_time: Ints
    envelope: Envelope | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where rows came from: `partition` and `offset` of `topic` (a file is partition 0 of itself),
    written at `at`, microseconds since the epoch; and the envelope that each came in."""

    topic: Texts
    partition: Ints
    offset: Ints
    at: Ints
    envelope: Envelope | None = None

    def take(self, rows: Ints) -> Origin:
        """Where the given rows came from."""
        return Origin(
            self.topic[rows],
            self.partition[rows],
            self.offset[rows],
            self.at[rows],
            None if self.envelope is None else self.envelope.take(rows),
        )

    @staticmethod
    def concat(parts: Sequence[Origin]) -> Origin:
        """Where all rows of the parts came from, in order; at least one part."""
        return Origin(
            np.concatenate([part.topic for part in parts]),
            np.concatenate([part.partition for part in parts]),
            np.concatenate([part.offset for part in parts]),
            np.concatenate([part.at for part in parts]),
            joined([part.envelope for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of the stream: what became known before, and the payments to score after it.

    now: the stream's time, microseconds since the epoch; nothing later is used, payments of this
    step apart. received: when it was read, seconds since the epoch by the wall clock. serving: the
    model that it is scored with.
    """

    number: int
    now: int
    received: float
    batch: Batch
    origin: Origin
    examples: Examples | None
    labels: Labels | None = None
    dead: DeadLetters | None = None
    marks: Marks = field(default_factory=dict)
    serving: str = CHAMPION


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
class Observed(Columns):
    """Payments with their features: those of their cards, then those of their terminals too.
    `position` is a row's place in the step."""

    batch: Batch
    position: Ints
    features: Features
    envelope: Envelope | None = None


@dataclass(frozen=True, slots=True)
class TerminalWork:
    """A terminal shard's part of a step, from one card shard. What else the sink is to know of
    its rows goes along.

    rows: None without any. A fresh step has few rows for all pairs of shards, so most have none."""

    number: int
    now: int
    received: float
    rows: Observed | None = None
    refused: DeadLetters | None = None
    repeated: Repeated | None = None


@dataclass(frozen=True, slots=True)
class TerminalNews:
    """What became known of a terminal shard's payments before a step."""

    number: int
    examples: Examples


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a model learns before a step, and which model the step is scored with."""

    number: int
    now: int
    examples: Examples
    model: str = CHAMPION  # that is to learn it
    serving: str = CHAMPION


@dataclass(frozen=True, slots=True)
class Release:
    """The model version that a step is scored with; None says the one before."""

    number: int
    version: ModelVersion | None


@dataclass(frozen=True, slots=True)
class Scorable:
    """A terminal shard's rows of a step with all their features, in the order of the stream; None
    without any."""

    number: int
    now: int
    received: float
    rows: Observed | None = None
    refused: DeadLetters | None = None
    repeated: Repeated | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be stored and published of one part of a step."""

    number: int
    received: float = 0.0
    decisions: Decisions | None = None
    envelope: Envelope | None = None  # of the decisions
    version: ModelVersion | None = None
    labels: Labels | None = None
    dead: DeadLetters | None = None
    metrics: tuple[Metric, ...] = ()
    repeated: Repeated | None = None
    marks: Marks = field(default_factory=dict)


def joined(parts: Sequence[Envelope | None]) -> Envelope | None:
    """The envelopes of all parts in order; None when they have none."""
    found = [part for part in parts if part is not None]
    if len(found) != len(parts) or not found:
        return None
    return Envelope.concat(found)


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
        zero,
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
        nothing(0),
        zero,
        nothing(0),
        nothing(0),
        np.zeros((0, 0), np.float32),
        zero,
        zero,
        np.zeros(0, np.bool_),
        np.zeros(0, np.float32),
    )

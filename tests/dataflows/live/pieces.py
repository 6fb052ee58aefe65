"""Pieces, labels and flows for the tests of what comes from Kafka."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from dataflows.live.pieces import Kind, Piece, Report
from dataflows.messages import Envelope, Origin
from tests.dataflows.streams import labels as some_labels
from tests.dataflows.streams import payments
from tidegate.schema import DeadLetters, texts

PAYMENTS, LABELS = "transactions", "labels"


def piece(
    at: Sequence[int],
    *,
    partition: int = 0,
    first: int = 0,
    at_end: bool = True,
    ids: Sequence[str] | None = None,
    dead: DeadLetters | None = None,
) -> Piece:
    """Payments of one partition at these times, the first at offset `first`."""
    count = len(at)
    names = ids or [f"p{partition}-{first + row}" for row in range(count)]
    batch = payments(names, at)
    return Piece(
        Kind.PAYMENTS,
        PAYMENTS,
        partition,
        first + count,
        at_end,
        time.time(),
        np.array(at, np.int64),
        batch,
        origin(PAYMENTS, partition, first, names),
        dead,
    )


def told(
    rows: Sequence[tuple[str, int, bool]],
    *,
    partition: int = 0,
    first: int = 0,
    at_end: bool = True,
) -> Piece:
    """Labels (id, known at, fraud) of one partition."""
    return Piece(
        Kind.LABELS,
        LABELS,
        partition,
        first + len(rows),
        at_end,
        time.time(),
        np.array([at for _, at, _ in rows], np.int64),
        some_labels(rows),
        origin(LABELS, partition, first, [name for name, _, _ in rows]),
    )


def origin(topic: str, partition: int, first: int, names: Sequence[str]) -> Origin:
    count = len(names)
    return Origin(
        texts([topic] * count),
        np.full(count, partition, np.int64),
        np.arange(first, first + count),
        np.zeros(count, np.int64),
        Envelope(texts([name.encode() for name in names]), texts([None] * count)),
    )


def report(
    slot: int, partitions: Sequence[int] = (), label_partitions: Sequence[int] = ()
) -> Report:
    places = [(Kind.PAYMENTS, PAYMENTS, partition) for partition in partitions]
    places += [(Kind.LABELS, LABELS, partition) for partition in label_partitions]
    return Report(slot, tuple(places))

"""Kafka messages into pieces: good rows as columns, bad ones as dead letters with their place."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from dataflows.live.pieces import Kind, Piece
from dataflows.messages import Envelope, Origin
from tidegate import decode
from tidegate.redaction import redact
from tidegate.schema import DAY, MINUTE, DeadLetters, Ints, Reason, texts

# How far a payment's own time may be ahead of its message's. Up to then it is scored and moves
# nobody's time; beyond, no window of the profiles would ever be right about it.
MOST_AHEAD = DAY

_MILLISECOND = 1000  # microseconds


def piece(
    kind: Kind,
    topic: str,
    partition: int,
    messages: Sequence[Message],
    next_offset: int,
    at_end: bool,
) -> Piece:
    """What these messages of a partition hold, at least one; else as in `Piece`."""
    now = time.time()
    payloads = [message.value() or b"" for message in messages]
    offset = np.array([message.offset() for message in messages], np.int64)
    at = np.array([_written(message, now) for message in messages], np.int64)
    decoded: decode.Decoded[Any] = (
        decode.transactions(payloads) if kind is Kind.PAYMENTS else decode.labels(payloads)
    )
    rows, index = decoded.rows, decoded.index
    told = rows.event_time if kind is Kind.PAYMENTS else rows.labelled_at
    bad = list(decoded.bad)
    ahead = told > at[index] + MOST_AHEAD
    if ahead.any():
        field = "event_time" if kind is Kind.PAYMENTS else "labelled_at"
        detail = f"more than {MOST_AHEAD // (60 * MINUTE)} h after the message was written"
        bad.extend(
            decode.Bad(place, Reason.BAD_TIME, field, detail, redact(payloads[place]))
            for place in index[ahead].tolist()
        )
        bad.sort(key=lambda letter: letter.index)
        rows, index, told = rows.take(~ahead), index[~ahead], told[~ahead]
    return Piece(
        kind,
        topic,
        partition,
        next_offset,
        at_end,
        now,
        np.minimum(told, at[index]),
        rows,
        Origin(
            topic,
            np.full(len(index), partition, np.int64),
            offset[index],
            at[index],
            _envelope([messages[place] for place in index.tolist()]),
        ),
        _dead(topic, partition, offset, at, bad) if bad else None,
    )


def _written(message: Message, now: float) -> int:
    kind, milliseconds = message.timestamp()
    if kind == TIMESTAMP_NOT_AVAILABLE or milliseconds < 0:
        return int(now * 1_000_000)
    return int(milliseconds) * _MILLISECOND


def _envelope(messages: Sequence[Message]) -> Envelope:
    return Envelope(
        texts([message.key() for message in messages]),
        texts([message.headers() for message in messages]),
    )


def _dead(
    topic: str, partition: int, offset: Ints, at: Ints, bad: Sequence[decode.Bad]
) -> DeadLetters:
    count = len(bad)
    rows = np.array([letter.index for letter in bad], np.int64)
    return DeadLetters(
        texts([topic] * count),
        np.full(count, partition, np.int64),
        offset[rows],
        at[rows],
        texts([str(letter.reason) for letter in bad]),
        texts([letter.field for letter in bad]),
        texts([letter.detail for letter in bad]),
        texts([letter.payload for letter in bad]),
    )


def nothing(kind: Kind, topic: str, partition: int, next_offset: int, at_end: bool) -> Piece:
    """A piece without messages, which tells how a partition stands."""
    return Piece(kind, topic, partition, next_offset, at_end, time.time(), np.zeros(0, np.int64))

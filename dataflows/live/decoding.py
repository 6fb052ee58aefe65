"""Kafka messages into pieces: good rows as columns, bad ones as dead letters with their place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from dataflows.live.pieces import Kind, Piece
from dataflows.messages import Envelope, Origin
from tidegate import decode
from tidegate.redaction import redact
from tidegate.schema import DAY, HOUR, DeadLetters, Ints, Reason, texts

# How far a payment's own time may be ahead of its message's. Up to then it is scored and moves
# nobody's time; beyond, no window of the profiles would ever be right about it.
MOST_AHEAD = DAY

_MILLISECOND = 1000  # microseconds


class Read(NamedTuple):
    """Messages of one partition, at least one, and how it stands after them, as in `Piece`."""

    kind: Kind
    topic: str
    partition: int
    messages: Sequence[Message]
    next_offset: int
    at_end: bool


def pieces(reads: Sequence[Read]) -> list[Piece]:
    """A piece for each. Those of a kind are decoded at once: a call costs as much as some hundred
    messages, and a quiet stream has few in each partition."""
    done: dict[int, Piece] = {}
    for kind in Kind:
        places = [place for place, read in enumerate(reads) if read.kind is kind]
        if places:
            made = _pieces(kind, [reads[place] for place in places])
            done |= zip(places, made, strict=True)
    return [done[place] for place in range(len(reads))]


def _pieces(kind: Kind, reads: Sequence[Read]) -> Iterator[Piece]:
    now = time.time()
    messages = [message for read in reads for message in read.messages]
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
        bad.extend(_ahead(kind, payloads, index[ahead].tolist()))
        bad.sort(key=lambda letter: letter.index)
        rows, index, told = rows.take(~ahead), index[~ahead], told[~ahead]
    earlier = np.minimum(told, at[index])
    envelope = _envelope([messages[place] for place in index.tolist()])
    begin = 0
    for read in reads:
        end = begin + len(read.messages)
        mine = slice(*np.searchsorted(index, (begin, end)).tolist())
        row = np.arange(mine.start, mine.stop)
        dead = [letter for letter in bad if begin <= letter.index < end]
        yield Piece(
            kind,
            read.topic,
            read.partition,
            read.next_offset,
            read.at_end,
            now,
            earlier[mine],
            rows if len(reads) == 1 else rows.take(row),
            Origin(
                np.full(len(row), read.topic, object),
                np.full(len(row), read.partition, np.int64),
                offset[index[mine]],
                at[index[mine]],
                envelope.take(row),
            ),
            _dead(read.topic, read.partition, offset, at, dead) if dead else None,
        )
        begin = end


def _ahead(kind: Kind, payloads: Sequence[bytes], places: Sequence[int]) -> Iterator[decode.Bad]:
    field = "event_time" if kind is Kind.PAYMENTS else "labelled_at"
    detail = f"more than {MOST_AHEAD // HOUR} h after the message was written"
    for place in places:
        yield decode.Bad(place, Reason.BAD_TIME, field, detail, redact(payloads[place]))


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

"""What a slot read of one Kafka partition, on its way to be put in order; and as bytes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import numpy as np

from dataflows.messages import Envelope, Origin
from tidegate.schema import Batch, DeadLetters, Ints, Labels, texts


class Kind(StrEnum):
    """What a partition's messages are."""

    PAYMENTS = "payments"
    LABELS = "labels"


@dataclass(frozen=True, slots=True)
class Piece:
    """Messages of one partition, decoded, in their order. May hold none and only tell how the
    partition stands.

    next_offset: of the message after the last one. at_end: there was none after it when it was
    read. time: of each good row, microseconds: its own, or its message's if that is earlier, so
    that nobody's clock moves the stream ahead. received: when it was read, seconds since the epoch
    by the wall clock.
    """

    kind: Kind
    topic: str
    partition: int
    next_offset: int
    at_end: bool
    received: float
    time: Ints
    rows: Batch | Labels | None = None
    origin: Origin | None = None  # of the rows
    dead: DeadLetters | None = None

    @property
    def place(self) -> tuple[str, int]:
        """Topic and partition."""
        return self.topic, self.partition

    def __len__(self) -> int:
        """How many good rows there are."""
        return len(self.time)


@dataclass(frozen=True, slots=True)
class Report:
    """A slot's first word: the partitions that it reads."""

    slot: int
    places: tuple[tuple[Kind, str, int], ...]


def plain(piece: Piece) -> dict[str, Any]:
    """A piece as plain values, for a snapshot; without its dead letters, which are gone by then."""
    made = {
        **{name: getattr(piece, name) for name in _SCALARS},
        "kind": piece.kind.value,
        **{name: _plain(getattr(piece, name)) for name in ("time", "rows", "origin")},
    }
    if made["origin"] is not None:
        made["origin"]["topic"] = piece.topic  # the same of every row
    return made


def piece_of(value: dict[str, Any]) -> Piece:
    """The piece that `plain` took."""
    kind = Kind(value["kind"])
    return Piece(
        kind=kind,
        **{name: value[name] for name in _SCALARS},
        time=_array(value["time"]),
        rows=_columns(Batch if kind is Kind.PAYMENTS else Labels, value["rows"]),
        origin=_columns(Origin, value["origin"]),
    )


_SCALARS = ("topic", "partition", "next_offset", "at_end", "received")
_NESTED = {"envelope": Envelope}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return value.tolist()
        return {"dtype": value.dtype.str, "bytes": value.tobytes()}
    if isinstance(value, dict):
        return {name: _plain(column) for name, column in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value


def _array(value: Any) -> Any:
    if isinstance(value, list):
        # Headers come as lists of pairs, which stay lists: librdkafka takes either.
        return texts(value)
    return np.frombuffer(value["bytes"], value["dtype"]).copy()


def _columns(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    made: dict[str, Any] = {}
    for field in fields(kind):
        given = value[field.name]
        if field.name in _NESTED:
            made[field.name] = _columns(_NESTED[field.name], given)
        elif field.name == "extras":
            made[field.name] = {name: _array(column) for name, column in given.items()}
        elif isinstance(given, str):
            made[field.name] = np.full(len(_array(value["partition"])), given, object)
        else:
            made[field.name] = _array(given)
    return kind(**made)

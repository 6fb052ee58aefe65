"""Transactions and labels from files: Parquet, CSV and JSON lines, the last two also gzipped.

A file's rows pass the same rules as messages do; a row that breaks them is a dead letter and the
file goes on. What ends the reading, before or in the middle, is `UnreadableFile`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import numpy as np

from tidegate import checks, decode, tables
from tidegate.columns import Fault, Faults
from tidegate.files import Dead, File, Lines, Part, UnreadableFile
from tidegate.redaction import redact
from tidegate.schema import Batch, Bools, DeadLetters, Ints, Labels, Reason

__all__ = ["CHUNK", "Chunk", "LabelFile", "TransactionFile", "UnreadableFile"]

CHUNK = 65_536  # records

T = TypeVar("T", Batch, Labels)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a file of transactions.

    start: number of its first record; records: how many it covers (a blank line is a record that
    gives neither row nor dead letter); rows: the good ones in the file's order; index: each row's
    record number; fraud: of each row, if the file has a column `fraud`.
    """

    start: int
    records: int
    rows: Batch
    index: Ints
    dead: DeadLetters
    fraud: Bools | None


class TransactionFile:
    """A file of transactions.

    path: its kind is told by its suffix (.parquet, .csv, .jsonl, .ndjson, the text ones also with
    .gz behind); currency: of all rows, where a table has no column of that name. A record's number
    is the row of a Parquet file, the line of JSON lines, or the line of CSV after the header, from
    0. Raises `UnreadableFile` for a file that is missing, unreadable or without a required column,
    and `ValueError` for an unknown currency.
    """

    def __init__(self, path: Path | str, *, currency: str | None = None) -> None:
        if currency is not None and currency not in checks.CURRENCIES:
            raise ValueError(f"not a currency of ISO 4217: {currency!r}")
        self._file = File(Path(path), lambda names: tables.transaction_layout(names, currency))

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._file.path

    @property
    def rows(self) -> int | None:
        """How many records it has, where that is known without reading it (Parquet)."""
        return self._file.rows

    def chunks(self, start: int = 0, size: int = CHUNK) -> Iterator[Chunk]:
        """The file's records from number `start` on, `size` at a time, in order.

        Chunks begin at multiples of `size`, so the same ones come whatever the start is, which
        must be such a multiple too (`ValueError`). Raises `UnreadableFile` in the middle of a file
        that is damaged there.
        """
        if size < 1 or start < 0 or start % size:
            raise ValueError(f"start {start} is not a multiple of the chunk's size {size}")
        has_fraud = "fraud" in self._file.layout.columns

        def read(part: Part) -> _Read[Batch]:
            if isinstance(part, Lines):
                found = _read_lines(part, decode.transactions)
                return _read_fraud(part, found) if has_fraud else found
            faults = Faults(len(part.places))
            rows, good, fraud = tables.transactions(
                part.columns, self._file.layout, faults, cells=part.cells
            )
            return _Read(rows, part.places[good], part.dead(faults), fraud)

        for part in self._file.parts(start, size):
            found = read(part)
            yield Chunk(
                start=part.start,
                records=part.records,
                rows=found.rows,
                index=found.index,
                dead=self._file.dead_letters(found.dead),
                fraud=found.fraud,
            )


class LabelFile:
    """A file of labels; kinds and errors as with `TransactionFile`."""

    def __init__(self, path: Path | str) -> None:
        self._file = File(Path(path), tables.label_layout)

    def read(self) -> tuple[Labels, DeadLetters]:
        """All its labels, in the file's order, and the rows that are none."""
        found = [self._read(part) for part in self._file.parts(0, CHUNK)]
        # An empty part, so that there is always one.
        rows = Labels.concat([decode.labels([]).rows, *(part.rows for part in found)])
        dead = [one for part in found for one in part.dead]
        return rows, self._file.dead_letters(dead)

    def _read(self, part: Part) -> _Read[Labels]:
        if isinstance(part, Lines):
            return _read_lines(part, decode.labels)
        faults = Faults(len(part.places))
        rows, good = tables.labels(part.columns, self._file.layout, faults, cells=part.cells)
        return _Read(rows, part.places[good], part.dead(faults), None)


@dataclass(frozen=True, slots=True)
class _Read(Generic[T]):
    rows: T
    index: Ints
    dead: list[Dead]
    fraud: Bools | None


def _read_lines(part: Lines, decoder: Callable[[Sequence[bytes]], decode.Decoded[T]]) -> _Read[T]:
    found = decoder(part.payloads)
    dead = [
        Dead(int(part.places[bad.index]), Fault(bad.reason, bad.field, bad.detail), bad.payload)
        for bad in found.bad
    ]
    return _Read(found.rows, part.places[found.index], sorted(part.broken + dead), None)


class _FraudOnly(msgspec.Struct):
    fraud: bool | int | None = None


_FRAUD = msgspec.json.Decoder(_FraudOnly)


def _read_fraud(part: Lines, found: _Read[Batch]) -> _Read[Batch]:
    """Adds what the good lines say in `fraud`, which a message does not have."""
    fraud = np.zeros(len(found.rows), dtype=np.bool_)
    faults = Faults(len(found.rows))
    payloads = [part.payloads[i] for i in np.searchsorted(part.places, found.index).tolist()]
    for row, payload in enumerate(payloads):
        try:
            value = _FRAUD.decode(payload).fraud
        except (msgspec.MsgspecError, ValueError):
            value = -1
        if value is None:
            faults.add_row(row, Reason.MISSING_FIELD, "fraud", "required")
        elif value not in (0, 1):
            faults.add_row(row, Reason.WRONG_TYPE, "fraud", "neither a boolean nor 0 nor 1")
        else:
            fraud[row] = value
    good = faults.good()
    dead = [
        Dead(int(found.index[row]), fault, redact(payloads[row]))
        for row, fault in faults.first.items()
    ]
    return _Read(found.rows.take(good), found.index[good], sorted(found.dead + dead), fraud[good])

"""Files of records, in parts that begin at multiples of a size whatever the start.

Parquet and CSV come as columns under the file's own names, JSON lines as payloads. A line that has
not the shape of a record is a dead letter; what ends the reading is `UnreadableFile`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidegate import lines, tables
from tidegate.columns import Fault, Faults
from tidegate.redaction import redact
from tidegate.schema import DeadLetters, Ints, Reason, texts

_LINES = (".jsonl", ".ndjson")
_SUFFIXES = (".parquet", ".csv", ".csv.gz", *_LINES, *(f"{suffix}.gz" for suffix in _LINES))
_UNREADABLE = (OSError, EOFError, zlib.error, pa.ArrowException)
_BUFFER = 1 << 20  # bytes read ahead of each column of a Parquet file
_TOO_LONG = f"a line of more than {lines.LINE_BYTES} bytes"


class UnreadableFile(Exception):
    """A file that cannot be read at all, or not to its end; its message is one line."""


class Dead(NamedTuple):
    """A record that could not be taken."""

    record: int
    fault: Fault
    payload: str  # redacted


class Lines(NamedTuple):
    """JSON lines: those that are not blank, and the record number of each."""

    start: int
    records: int
    payloads: list[bytes]
    places: Ints
    broken: list[Dead]


class Table(NamedTuple):
    """Rows of a table as columns, and the record number of each. `payloads` shows some rows."""

    start: int
    records: int
    columns: dict[str, pa.Array]
    places: Ints
    broken: list[Dead]
    cells: bool
    payloads: Callable[[list[int]], list[bytes]]

    def dead(self, faults: Faults) -> list[Dead]:
        """The dead letters of the part, in the file's order."""
        rows = list(faults.first)
        shown = self.payloads(rows) if rows else []
        found = [
            Dead(int(self.places[row]), faults.first[row], redact(payload))
            for row, payload in zip(rows, shown, strict=True)
        ]
        return sorted(self.broken + found)


Part = Lines | Table


class File:
    """What all kinds of files have in common: a layout, parts, dead letters."""

    def __init__(self, path: Path, layout: Callable[[Sequence[str]], tables.Layout]) -> None:
        self.path = path
        self.rows: int | None = None
        self._texts: list[str] = []  # columns of text in a Parquet file
        name = path.name.lower()
        self._kind = next((s for s in _SUFFIXES if name.endswith(s)), "").removesuffix(".gz")
        if not self._kind:
            raise UnreadableFile(f"{path}: the name ends with none of {', '.join(_SUFFIXES)}")
        try:
            self._at = path.stat().st_mtime_ns // 1000
            names = self._names()
        except _UNREADABLE as ex:
            raise _unreadable(path, ex) from ex
        self.layout = layout(names)
        if self._kind in _LINES:
            return
        if self.layout.absent:
            raise UnreadableFile(f"{path}: no column {', '.join(self.layout.absent)}")
        twice = [column for column in self.layout.columns.values() if names.count(column) > 1]
        if twice:
            raise UnreadableFile(f"{path}: more than one column {', '.join(twice)}")

    def parts(self, start: int, size: int) -> Iterator[Part]:
        """The records from number `start` on, in parts that begin at multiples of `size`."""
        ways: dict[str, Callable[[int, int], Iterator[Part]]] = {
            ".parquet": self._parquet,
            ".csv": self._csv,
        }
        try:
            yield from ways.get(self._kind, self._json_lines)(start, size)
        except _UNREADABLE as ex:
            raise _unreadable(self.path, ex) from ex

    def dead_letters(self, dead: Sequence[Dead]) -> DeadLetters:
        """As they are stored: the file is the topic, the record number the offset."""
        rows = len(dead)
        return DeadLetters(
            topic=texts([self.path.name] * rows),
            partition=np.zeros(rows, dtype=np.int64),
            offset=np.array([one.record for one in dead], dtype=np.int64),
            at=np.full(rows, self._at, dtype=np.int64),
            reason=texts([one.fault.reason for one in dead]),
            field=texts([one.fault.field for one in dead]),
            detail=texts([one.fault.detail for one in dead]),
            payload=texts([one.payload for one in dead]),
        )

    def _names(self) -> list[str]:
        if self._kind == ".parquet":
            with pq.ParquetFile(self.path) as file:
                self.rows = file.metadata.num_rows
                self._texts = [one.name for one in file.schema_arrow if tables.is_text(one.type)]
                return list(file.schema_arrow.names)
        first = lines.head(self.path)
        if self._kind == ".csv":
            try:
                return lines.cells(first)
            except ValueError as ex:
                raise UnreadableFile(f"{self.path}: the header is {_one_line(ex)}") from ex
        # A file of JSON lines tells by its first line whether its transactions say `fraud`.
        try:
            return list(msgspec.json.decode(first, type=dict[str, Any]))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return []

    def _parquet(self, start: int, size: int) -> Iterator[Table]:
        wanted = list(self.layout.columns.values())
        plain = {self.layout.columns.get(name) for name in ("transaction_id", "event_time")}
        # What repeats comes as a dictionary: checked, hashed and made a Python object once.
        repeats = [name for name in self._texts if name in wanted and name not in plain]
        # Without these two Arrow keeps all the file's row groups in memory as it goes on.
        with pq.ParquetFile(
            self.path, read_dictionary=repeats, pre_buffer=False, buffer_size=_BUFFER
        ) as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            begins = np.cumsum([0, *sizes])
            group = max(0, int(np.searchsorted(begins, start, side="right")) - 1)
            if group >= len(sizes):
                return
            skip = start - int(begins[group])
            waiting: list[pa.RecordBatch] = []
            held = 0
            for batch in file.iter_batches(
                size, row_groups=list(range(group, len(sizes))), columns=wanted
            ):
                if skip >= len(batch):
                    skip -= len(batch)
                    continue
                waiting.append(batch.slice(skip))
                held += len(batch) - skip
                skip = 0
                while held >= size:
                    table = pa.Table.from_batches(waiting)
                    yield _table(start, table.slice(0, size))
                    start += size
                    held -= size
                    waiting = table.slice(size).to_batches() if held else []
            if held:
                yield _table(start, pa.Table.from_batches(waiting))

    def _csv(self, start: int, size: int) -> Iterator[Table]:
        names = self._names()
        for block in lines.blocks(self.path, skip=1, start=start, size=size):
            rows: list[list[str]] = []
            places: list[int] = []
            broken: list[Dead] = []
            for place, line in enumerate(block.lines):
                try:
                    found = lines.cells(line) if place not in block.too_long else None
                    problem = _shape(found, len(names))
                except ValueError as ex:
                    found, problem = None, _one_line(ex)
                if problem is None and found is not None:
                    rows.append(found)
                    places.append(place)
                elif line.strip():
                    broken.append(_malformed(start + place, problem, line))
            turned = list(zip(*rows, strict=True)) if rows else [()] * len(names)
            columns = {
                column: pa.array([cell or None for cell in turned[names.index(column)]], "string")
                for column in self.layout.columns.values()
            }
            yield Table(
                start=start,
                records=len(block.lines),
                columns=columns,
                places=np.array(places, dtype=np.int64) + start,
                broken=broken,
                cells=True,
                payloads=partial(_lines_of, block.lines, places),
            )
            start += size

    def _json_lines(self, start: int, size: int) -> Iterator[Lines]:
        for block in lines.blocks(self.path, skip=0, start=start, size=size):
            broken = [
                _malformed(start + place, _TOO_LONG, block.lines[place])
                for place in sorted(block.too_long)
            ]
            places = [
                place
                for place, line in enumerate(block.lines)
                if place not in block.too_long and line.strip()
            ]
            yield Lines(
                start=start,
                records=len(block.lines),
                payloads=[block.lines[place] for place in places],
                places=np.array(places, dtype=np.int64) + start,
                broken=broken,
            )
            start += size


def _lines_of(block: list[bytes], places: list[int], rows: list[int]) -> list[bytes]:
    return [block[places[row]] for row in rows]


def _shape(found: list[str] | None, columns: int) -> str | None:
    """What is wrong with the shape of a line of CSV, if anything."""
    if found is None:
        return _TOO_LONG
    return None if len(found) == columns else f"{len(found)} cells for {columns} columns"


def _malformed(record: int, problem: str | None, line: bytes) -> Dead:
    return Dead(record, Fault(Reason.MALFORMED, None, problem or "malformed"), redact(line))


def _table(start: int, table: pa.Table) -> Table:
    combined = table.unify_dictionaries().combine_chunks()
    columns = {
        name: column.chunk(0) if column.num_chunks else pa.nulls(0, column.type)
        for name, column in zip(combined.column_names, combined.columns, strict=True)
    }
    return Table(
        start=start,
        records=len(table),
        columns=columns,
        places=np.arange(start, start + len(table), dtype=np.int64),
        broken=[],
        cells=False,
        payloads=partial(_shown, columns),
    )


def _shown(columns: dict[str, pa.Array], rows: list[int]) -> list[bytes]:
    """Rows of a table as JSON."""
    places = pa.array(rows, pa.int64())
    shown: list[list[str]] = []
    for name, column in columns.items():
        few = column.take(places)
        if pa.types.is_dictionary(few.type):
            few = few.dictionary_decode()
        if pa.types.is_timestamp(few.type):  # Python has no nanoseconds and no year 10000
            few = few.cast(pa.string())
        values = few.to_pylist() if not tables.is_text(few.type) else _replaced(few)
        cells = [msgspec.json.encode(value, enc_hook=str).decode() for value in values]
        shown.append([f'"{name}":{cell}' for cell in cells])
    return [("{" + ",".join(row) + "}").encode() for row in zip(*shown, strict=True)]


def _replaced(column: pa.Array) -> list[str | None]:
    """The texts of a column that need not be UTF-8."""
    raw = column.cast(pa.large_binary()).to_pylist()
    return [None if text is None else text.decode("utf-8", "replace") for text in raw]


def _unreadable(path: Path, ex: BaseException) -> UnreadableFile:
    return UnreadableFile(f"{path}: {_one_line(ex)}")


def _one_line(ex: BaseException) -> str:
    if isinstance(ex, OSError) and ex.strerror:
        return ex.strerror
    return " ".join(str(ex).split()) or type(ex).__name__

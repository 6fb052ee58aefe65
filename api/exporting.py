"""Alerts as a file, written while it is read: batch by batch, whatever their number.

In CSV a cell of text that begins with =, +, -, @, a tab or a return gets an apostrophe before it:
spreadsheets would take it for a formula, and merchants' names are not ours. Parquet has types, and
its text is as it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from api.money import major
from tidegate.store.exports import COLUMNS

Format = Literal["csv", "parquet"]

MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}

_TIME = pa.timestamp("us", tz="UTC")
_TYPES = {
    "event_time": _TIME,
    "created_at": _TIME,
    "snoozed_until": _TIME,
    "changed_at": _TIME,
    "amount_minor": pa.int64(),
    "score": pa.float64(),
    "version": pa.int32(),
}
SCHEMA = pa.schema(
    [
        *(pa.field(name, _TYPES.get(name, pa.string())) for name in COLUMNS),
        pa.field("amount", pa.string()),  # in major units, as decimal text
    ]
)

_FORMULA = "^[=+\\-@\t\r]"

Rows = Sequence[tuple[Any, ...]]


class Encoder(Protocol):
    """Makes bytes of batches."""

    def first(self) -> bytes:
        """What comes before all batches."""

    def batch(self, rows: Rows) -> bytes:
        """The rows of one."""

    def last(self) -> bytes:
        """What comes after all."""


class Csv:
    """RFC 4180 with a header line, UTF-8, times in RFC 3339, nulls as nothing."""

    def first(self) -> bytes:
        """The header."""
        return _csv(SCHEMA.empty_table(), header=True)

    def batch(self, rows: Rows) -> bytes:
        """Lines."""
        table = _table(rows)
        columns = [_cells(column, field.type) for column, field in zip(table, SCHEMA, strict=True)]
        return _csv(pa.table(columns, names=SCHEMA.names), header=False)

    def last(self) -> bytes:
        """Nothing."""
        return b""


class Parquet:
    """One row group for each batch."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._writer: Any = pq.ParquetWriter(self._sink, SCHEMA, compression="zstd")

    def first(self) -> bytes:
        """Its magic."""
        return self._sink.take()

    def batch(self, rows: Rows) -> bytes:
        """A row group."""
        self._writer.write_table(_table(rows), row_group_size=len(rows))
        return self._sink.take()

    def last(self) -> bytes:
        """The footer."""
        self._writer.close()
        return self._sink.take()


ENCODERS: dict[Format, Callable[[], Encoder]] = {"csv": Csv, "parquet": Parquet}


def encoded(format: Format, batches: Iterator[Rows]) -> Iterator[bytes]:
    """A file of the batches, part by part; none is empty."""
    encoder = ENCODERS[format]()
    parts = [encoder.first()]
    for rows in batches:
        yield b"".join((*parts, encoder.batch(rows)))
        parts = []
    yield b"".join((*parts, encoder.last()))


class _Sink:
    """Holds what a writer wrote until it is taken."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _table(rows: Rows) -> Any:
    columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    amounts = zip(columns["amount_minor"], columns["currency"], strict=True)
    columns["amount"] = tuple(major(amount, currency) for amount, currency in amounts)
    return pa.table([pa.array(columns[f.name], f.type) for f in SCHEMA], schema=SCHEMA)


def _cells(column: Any, type: Any) -> Any:
    if type == _TIME:
        # Without its zone, which needs no list of them, and then with UTC's letter.
        plain = pc.cast(pc.cast(column, pa.timestamp("us", tz=None)), pa.string())
        zoned = pc.binary_join_element_wise(plain, "Z", "")
        return pc.replace_substring(zoned, " ", "T", max_replacements=1)
    if type == pa.string():
        risky = pc.match_substring_regex(column, _FORMULA)
        return pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)
    return column


def _csv(table: Any, *, header: bool) -> bytes:
    options = pyarrow.csv.WriteOptions(include_header=header, quoting_style="needed")
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink, options)
    content: bytes = sink.getvalue().to_pybytes()
    return content

"""Writes simulated payments and labels as files, a day at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from tidegate.schema import Batch, Ints, Labels, nothing

_TIME = pa.timestamp("us", tz="UTC")
TRANSACTIONS = pa.schema(
    [
        pa.field("transaction_id", pa.string(), nullable=False),
        pa.field("event_time", _TIME, nullable=False),
        pa.field("amount_minor", pa.int64(), nullable=False),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("card_token", pa.string(), nullable=False),
        pa.field("terminal_id", pa.string(), nullable=False),
        pa.field("merchant_id", pa.string()),
        pa.field("customer_id", pa.string()),
        pa.field("mcc", pa.string()),
        pa.field("merchant_country", pa.string()),
        pa.field("pos_entry_mode", pa.string()),
        pa.field("channel", pa.string()),
        pa.field("device_id", pa.string()),
        pa.field("latitude", pa.float64()),
        pa.field("longitude", pa.float64()),
    ]
)
LABELS = pa.schema(
    [
        pa.field("transaction_id", pa.string(), nullable=False),
        pa.field("fraud", pa.bool_(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("labelled_at", _TIME, nullable=False),
        pa.field("reason", pa.string()),
    ]
)
_ROWS = 50_000  # of a parquet row group, at least: a small world's days are gathered


class Table(Protocol):
    """An open file that takes rows as columns."""

    def write(self, columns: Sequence[Any]) -> None:
        """Appends rows; one array for each field of the schema, times in microseconds."""

    def close(self) -> None:
        """Writes what is still held; once closed, does nothing."""


class _Parquet:
    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pa.parquet.ParquetWriter(file, schema)
        self._held: list[pa.Table] = []

    def write(self, columns: Sequence[Any]) -> None:
        arrays = [pa.array(c, f.type) for c, f in zip(columns, self._schema, strict=True)]
        self._held.append(pa.table(arrays, schema=self._schema))
        if sum(len(table) for table in self._held) >= _ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._held:
            together = pa.concat_tables(self._held).combine_chunks()
            self._writer.write_table(together, row_group_size=max(len(together), 1))
            self._held = []


class _Csv:
    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._times = [field.type == _TIME for field in schema]
        fields = [pa.field(f.name, pa.string()) if f.type == _TIME else f for f in schema]
        self._schema = pa.schema(fields)
        options = pa.csv.WriteOptions(quoting_style="needed")
        self._writer = pa.csv.CSVWriter(file, self._schema, write_options=options)

    def write(self, columns: Sequence[Any]) -> None:
        spelled = [rfc3339(c) if t else c for c, t in zip(columns, self._times, strict=True)]
        arrays = [pa.array(c, f.type) for c, f in zip(spelled, self._schema, strict=True)]
        self._writer.write_table(pa.table(arrays, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


class _Lines:
    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._file = file
        self._times = [field.type == _TIME for field in schema]
        self._encoder = msgspec.json.Encoder()
        fields: list[Any] = [(f.name, Any, None) if f.nullable else (f.name, Any) for f in schema]
        # A field that a row lacks is left out rather than written as null.
        self._row = msgspec.defstruct("Row", fields, omit_defaults=True)

    def write(self, columns: Sequence[Any]) -> None:
        values = [
            rfc3339(c) if t else c.tolist() for c, t in zip(columns, self._times, strict=True)
        ]
        self._file.write(
            self._encoder.encode_lines([self._row(*row) for row in zip(*values, strict=True)])
        )

    def close(self) -> None:
        pass


_TABLES: dict[str, Callable[[BinaryIO, pa.Schema], Table]] = {
    "parquet": _Parquet,
    "csv": _Csv,
    "jsonl": _Lines,
}
FORMATS = tuple(_TABLES)


def rfc3339(micros: Ints) -> list[str]:
    """Times in microseconds since the epoch as RFC 3339 text in UTC, to the microsecond."""
    spelled: list[str] = np.datetime_as_string(micros.astype("datetime64[us]")).tolist()
    return [text + "Z" for text in spelled]


class Files:
    """A pair of open files, of transactions and of labels."""

    def __init__(self, transactions: Table, labels: Table) -> None:
        self._transactions = transactions
        self._labels = labels

    def write(self, batch: Batch, labels: Labels) -> None:
        """Appends rows to both files."""
        absent = nothing(len(batch))
        columns = [
            getattr(batch, name) if hasattr(batch, name) else batch.extras.get(name, absent)
            for name in TRANSACTIONS.names
        ]
        if len(batch):
            self._transactions.write(columns)
        if len(labels):
            self._labels.write([getattr(labels, name) for name in LABELS.names])


@contextmanager
def appearing(transactions: Path, labels: Path, format: str) -> Iterator[Files]:
    """Two files that appear together, complete, when the `with` block ends without an error.

    Until then they are written under temporary names in the same directories, which are made
    where they are missing; an error removes them. Raises ValueError for an unknown format.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    with ExitStack() as stack:
        opened: list[tuple[Path, Path, BinaryIO, Table]] = []
        for path, schema in ((transactions, TRANSACTIONS), (labels, LABELS)):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            stack.callback(temporary.unlink, missing_ok=True)
            written = stack.enter_context(temporary.open("wb"))
            table = _TABLES[format](written, schema)
            stack.callback(table.close)  # in front of its file, also after an error
            opened.append((path, temporary, written, table))
        yield Files(opened[0][3], opened[1][3])
        for _, _, file, table in opened:
            table.close()
            file.flush()
            os.fsync(file.fileno())
        for path, temporary, _, _ in opened:
            temporary.replace(path)

"""Columns of files (Parquet, or the cells of a CSV file) into columns that `tidegate.checks` takes.

A cell of CSV is text and is read as the field's type; everywhere else a column's type must fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegate import checks
from tidegate.attributes import Attributes
from tidegate.columns import Faults, TextColumn, as_mask
from tidegate.redaction import excerpt
from tidegate.schema import OPTIONAL_FIELDS, SECOND, Batch, Bools, Ints, Labels, Reason, texts

Columns = Mapping[str, pa.Array]

# The published data of the fraud detection handbook: one card a customer, amounts in minor units,
# times without an offset that are documented as UTC.
HANDBOOK = {"event_time": "time", "card_token": "customer_id", "amount_minor": "amount"}
HANDBOOK_CURRENCY = "EUR"

_INTEGER = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_BOOLEANS = {"0": False, "1": True, "false": False, "true": True}
_INT64 = np.iinfo(np.int64)
# How a unit of Arrow's timestamps becomes microseconds: times, divided by.
_UNITS = {"s": (SECOND, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column of a file holds which field.

    currency: of every row, where the file has no such column; naive_is_utc: times without an
    offset are in UTC; absent: required fields that no column holds (`currency` is never one).
    """

    columns: Mapping[str, str]
    currency: str | None = None
    naive_is_utc: bool = False
    absent: tuple[str, ...] = ()


def transaction_layout(names: Sequence[str], currency: str | None) -> Layout:
    """How a file with these columns holds transactions."""
    columns: dict[str, str] = {}
    for name in (*checks.REQUIRED_FIELDS, *OPTIONAL_FIELDS, "fraud"):
        if name in names and name not in columns.values():
            columns[name] = name
        elif HANDBOOK.get(name) in names:
            columns[name] = HANDBOOK[name]
    if currency is None and all(columns.get(name) == theirs for name, theirs in HANDBOOK.items()):
        currency = HANDBOOK_CURRENCY
    needed = [name for name in checks.REQUIRED_FIELDS if name != "currency"]
    return Layout(
        columns,
        currency,
        naive_is_utc=columns.get("event_time") == HANDBOOK["event_time"],
        absent=tuple(name for name in needed if name not in columns),
    )


def label_layout(names: Sequence[str]) -> Layout:
    """How a file with these columns holds labels."""
    wanted = (*checks.REQUIRED_LABEL_FIELDS, "reason")
    absent = [name for name in checks.REQUIRED_LABEL_FIELDS if name not in names]
    return Layout({name: name for name in wanted if name in names}, absent=tuple(absent))


def transactions(
    given: Columns, layout: Layout, faults: Faults, *, cells: bool = False
) -> tuple[Batch, Ints, Bools | None]:
    """The rows that fit, their places among the rows given, and which are fraud, if the file says.

    given: the file's columns under their own names, each of `faults.rows` rows; cells: they are
    the cells of a CSV file. Adds what it finds to `faults`.
    """
    columns = {name: given[theirs] for name, theirs in layout.columns.items()}
    if "currency" not in columns:
        columns["currency"] = _constant(layout.currency, faults.rows)
    typed: dict[str, Any] = {}
    for name in (*checks.REQUIRED_FIELDS, *OPTIONAL_FIELDS):
        if name not in columns:
            continue
        if name in checks.REQUIRED_FIELDS:
            checks.missing(name, columns[name], faults)
        elif columns[name].null_count == faults.rows:
            continue
        typed[name] = _convert(name, columns[name], faults, cells, layout.naive_is_utc)
    fraud = None
    if "fraud" in columns:
        checks.missing("fraud", columns["fraud"], faults)
        fraud = _booleans("fraud", columns["fraud"], faults, cells)
    batch, good = checks.transactions(
        checks.TransactionColumns(
            texts={name: v for name, v in typed.items() if isinstance(v, TextColumn)},
            event_time=typed["event_time"],
            amount_minor=typed["amount_minor"],
            numbers={name: typed[name] for name in checks.BOUNDS if name in typed},
            attributes=typed.get("attributes"),
            naive_is_utc=layout.naive_is_utc,
        ),
        faults,
    )
    return batch, good, None if fraud is None else fraud[good]


def labels(
    given: Columns, layout: Layout, faults: Faults, *, cells: bool = False
) -> tuple[Labels, Ints]:
    """The labels that fit, and their places among the rows given; as `transactions`."""
    columns = {name: given[theirs] for name, theirs in layout.columns.items()}
    columns.setdefault("reason", pa.nulls(faults.rows, pa.string()))
    for name in checks.REQUIRED_LABEL_FIELDS:
        checks.missing(name, columns[name], faults)
    return checks.labels(
        {
            name: _texts(name, columns[name], faults)
            for name in ("transaction_id", "source", "reason")
        },
        _times("labelled_at", columns["labelled_at"], faults, naive_is_utc=False),
        _booleans("fraud", columns["fraud"], faults, cells),
        faults,
    )


def _constant(text: str | None, rows: int) -> pa.Array:
    if text is None:
        return pa.nulls(rows, pa.string())
    return pa.DictionaryArray.from_arrays(np.zeros(rows, dtype=np.int32), pa.array([text]))


def _convert(name: str, column: pa.Array, faults: Faults, cells: bool, naive_is_utc: bool) -> Any:
    if name == "event_time":
        return _times(name, column, faults, naive_is_utc)
    if name == "amount_minor":
        return _integers(name, column, faults, cells)
    if name in checks.BOUNDS:
        return _numbers(name, column, faults, cells)
    if name == "attributes":
        return _objects(name, column, faults)
    return _texts(name, column, faults)


def _wrong_type(name: str, column: pa.Array, faults: Faults) -> None:
    detail = f"a column of {column.type}"
    faults.add(as_mask(column.is_valid()), Reason.WRONG_TYPE, name, detail)


def _texts(name: str, column: pa.Array, faults: Faults) -> TextColumn:
    if pa.types.is_integer(column.type):
        if name == "transaction_id":  # hardly any repeats
            return TextColumn(column.cast(pa.string()))
        column = column.dictionary_encode()
        words = column.dictionary.cast(pa.string())
        if name == "mcc":  # 742 is 0742
            words = pc.utf8_lpad(words, 4, "0")
        return TextColumn.of_dictionary(pa.DictionaryArray.from_arrays(column.indices, words))
    if pa.types.is_dictionary(column.type):
        if is_text(column.type.value_type) and _is_utf8(column.dictionary):
            return TextColumn.of_dictionary(column)
        column = column.dictionary_decode()
    return TextColumn(_strings(name, column, faults))


def _strings(name: str, column: pa.Array, faults: Faults) -> pa.StringArray:
    """A column of any type of text as one of strings, null where it is not UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not is_text(column.type):
        _wrong_type(name, column, faults)
        return pa.nulls(len(column), pa.string())
    if _is_utf8(column):
        return column.cast(pa.string())
    found: list[str | None] = []
    for row, raw in enumerate(column.cast(pa.large_binary()).to_pylist()):
        try:
            found.append(None if raw is None else raw.decode())
        except UnicodeDecodeError:
            faults.add_row(row, Reason.MALFORMED, name, "not UTF-8")
            found.append(None)
    return pa.array(found, pa.string())


def is_text(kind: pa.DataType) -> bool:
    """Whether it is one of Arrow's types of text."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_utf8(column: pa.Array) -> bool:
    # Arrow trusts a file's text to be UTF-8 and fails only where Python gets to see it.
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _times(name: str, column: pa.Array, faults: Faults, naive_is_utc: bool) -> Any:
    if not pa.types.is_timestamp(column.type):
        return _strings(name, column, faults)
    if column.type.tz is None and not naive_is_utc:
        detail = "a column of timestamps without a zone"
        faults.add(as_mask(column.is_valid()), Reason.TIME_WITHOUT_OFFSET, name, detail)
        return np.zeros(len(column), dtype=np.int64)
    times_by, divided_by = _UNITS[column.type.unit]
    units = _int64(column.cast(pa.int64()))
    # What would leave 64 bits is far outside the years allowed, and -1 is too.
    fits = (units >= 0) & (units <= _INT64.max // times_by)
    micros = np.where(fits, units, -1) * times_by // divided_by
    return np.where(as_mask(column.is_null()), 0, micros)


def _integers(name: str, column: pa.Array, faults: Faults, cells: bool) -> Ints:
    if cells:
        return np.array(_read(name, column, faults, _read_integer, 0), dtype=np.int64)
    if not pa.types.is_integer(column.type):
        _wrong_type(name, column, faults)
        return np.zeros(len(column), dtype=np.int64)
    if pa.types.is_uint64(column.type):
        too_large = pc.greater(column, pa.scalar(_INT64.max, pa.uint64()))
        faults.add(as_mask(too_large), Reason.OUT_OF_RANGE, name, "does not fit 64 bits")
        column = pc.if_else(too_large, None, column)
    return _int64(column.cast(pa.int64()))


def _int64(column: pa.Array) -> Ints:
    return np.asarray(pc.fill_null(column, 0) if column.null_count else column)


def _numbers(name: str, column: pa.Array, faults: Faults, cells: bool) -> pa.DoubleArray:
    if cells:
        return pa.array(_read(name, column, faults, _read_number, None), pa.float64())
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        _wrong_type(name, column, faults)
        return pa.nulls(len(column), pa.float64())
    return column.cast(pa.float64(), safe=False)


def _booleans(name: str, column: pa.Array, faults: Faults, cells: bool) -> Bools:
    if cells:
        return np.array(_read(name, column, faults, _read_boolean, False), dtype=np.bool_)
    if pa.types.is_boolean(column.type):
        return as_mask(column)
    if not pa.types.is_integer(column.type):
        _wrong_type(name, column, faults)
        return np.zeros(len(column), dtype=np.bool_)
    other = pc.invert(pc.is_in(column, pa.array([0, 1], column.type)))
    other = pc.and_(other, column.is_valid())
    faults.add(as_mask(other), Reason.WRONG_TYPE, name, "neither 0 nor 1")
    return as_mask(pc.equal(column, 1))


def _objects(name: str, column: pa.Array, faults: Faults) -> list[Attributes | None]:
    found: list[Attributes | None] = []
    for row, text in enumerate(_strings(name, column, faults).to_pylist()):
        value = None
        if text is not None:
            try:
                value = msgspec.json.decode(text, type=dict[str, Any])
            except (msgspec.MsgspecError, ValueError, RecursionError):
                faults.add_row(row, Reason.WRONG_TYPE, name, "not a JSON object")
        found.append(value)
    return found


def _read(
    name: str,
    column: pa.StringArray,
    faults: Faults,
    reader: Callable[[str], Any],
    instead: object,
) -> list[Any]:
    """The cells of a CSV column as `reader` reads them; it raises `ValueError` for a wrong type
    and `OverflowError` for what does not fit 64 bits."""
    values = texts(column.to_pylist())
    for row, text in enumerate(values):
        if text is None:
            values[row] = instead
            continue
        try:
            values[row] = reader(text)
        except OverflowError:
            faults.add_row(row, Reason.OUT_OF_RANGE, name, "does not fit 64 bits")
            values[row] = instead
        except (ValueError, KeyError):
            faults.add_row(row, Reason.WRONG_TYPE, name, f"cannot be read: {excerpt(text)}")
            values[row] = instead
    return list(values)


def _read_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    value = int(text)
    if not _INT64.min <= value <= _INT64.max:
        raise OverflowError(text)
    return value


def _read_number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return float(text)


def _read_boolean(text: str) -> bool:
    return _BOOLEANS[text.lower()]

"""The rules of the message contract that are not types, over columns.

Every way in (JSON, JSON lines, CSV, Parquet) brings its rows into the columns below, noting rows
whose types do not fit, and all of them come through here; a row that passes is a row of a `Batch`
or of `Labels`. The first fault of a row counts, in the order of the contract's fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tidegate import attributes, content, redaction, times
from tidegate.attributes import Attributes
from tidegate.columns import Faults, TextColumn, as_mask, byte_lengths
from tidegate.currencies import EXPONENTS
from tidegate.schema import (
    OPTIONAL_FIELDS,
    Batch,
    Bools,
    Ints,
    Labels,
    Reason,
    Texts,
    texts,
)

REQUIRED_FIELDS = (
    "transaction_id",
    "event_time",
    "amount_minor",
    "currency",
    "card_token",
    "terminal_id",
)
REQUIRED_LABEL_FIELDS = ("transaction_id", "fraud", "source", "labelled_at")
CHANNELS = ("pos", "ecom", "atm", "transfer")
LABEL_SOURCES = ("chargeback", "issuer", "customer", "analyst")
CURRENCIES = tuple(EXPONENTS)

ID_CHARACTERS = 64  # of a transaction_id
TEXT_CHARACTERS = 128  # of any other text

# Whose texts are free, so that a card number may have strayed into them.
# Identifiers that systems number themselves, often with 12 to 19 digits: one in ten of them would
# pass for a card number by its check digit alone.
OWN_NUMBERS = ("transaction_id", "terminal_id", "merchant_id")

FREE_TEXTS = (
    "transaction_id",
    "card_token",
    "terminal_id",
    "merchant_id",
    "customer_id",
    "pos_entry_mode",
    "device_id",
    "ip",
)
CLOSED_LISTS = {
    "currency": (pa.array(CURRENCIES), Reason.UNKNOWN_CURRENCY, "not a currency of ISO 4217"),
    "channel": (pa.array(CHANNELS), Reason.UNKNOWN_VALUE, f"not one of {', '.join(CHANNELS)}"),
    "source": (
        pa.array(LABEL_SOURCES),
        Reason.UNKNOWN_VALUE,
        f"not one of {', '.join(LABEL_SOURCES)}",
    ),
}
SHAPES = {
    "mcc": (r"^[0-9]{4}$", "not four digits"),
    "merchant_country": (r"^[A-Z]{2}$", "not two capital letters"),
    "acquirer_country": (r"^[A-Z]{2}$", "not two capital letters"),
}
BOUNDS = {"latitude": 90.0, "longitude": 180.0}  # degrees, either way


@dataclass(frozen=True, slots=True)
class TransactionColumns:
    """Transactions whose types fit, each column as long as the others.

    texts: all text fields, `currency` among them; event_time: RFC 3339 texts, or microseconds
    since the epoch; amount_minor: minor units, anything where a row already has a fault;
    numbers: latitude and longitude, if there are any; attributes: parsed, None where absent.
    """

    texts: Mapping[str, TextColumn]
    event_time: pa.StringArray | Ints
    amount_minor: Ints
    numbers: Mapping[str, pa.DoubleArray] = field(default_factory=dict)
    attributes: Sequence[Attributes | None] | None = None
    naive_is_utc: bool = False  # a time without an offset is in UTC


def transactions(columns: TransactionColumns, faults: Faults) -> tuple[Batch, Ints]:
    """The rows without a fault, and their places among the rows given.

    Adds the faults it finds to `faults`.
    """
    event_time = _times("event_time", columns.event_time, faults, columns.naive_is_utc)
    faults.add(
        columns.amount_minor < 0,
        Reason.NEGATIVE_AMOUNT,
        "amount_minor",
        lambda row: f"{columns.amount_minor[row]} is below zero",
    )
    checked: dict[str, TextColumn] = {}
    numbers: dict[str, npt.NDArray[np.float64]] = {}
    encoded: pa.StringArray | None = None
    for name in (*REQUIRED_FIELDS, *OPTIONAL_FIELDS):
        if name in columns.texts:
            checked[name] = _text(name, columns.texts[name], faults)
        elif name in columns.numbers:
            numbers[name] = _number(name, columns.numbers[name], faults)
        elif name == "attributes" and columns.attributes is not None:
            encoded = attributes.check(columns.attributes, faults)

    hashes = content.of_ints("event_time", event_time)
    hashes += content.of_ints("amount_minor", columns.amount_minor)
    for name, column in checked.items():
        hashes += column.spread_hashes(content.of_texts(name, column.values))
    for name, values in numbers.items():
        hashes += content.of_floats(name, values, np.isnan(values))
    if encoded is not None:
        hashes += content.of_texts("attributes", encoded)

    good = faults.good()
    rows: slice | Ints = slice(None) if len(good) == faults.rows else good
    objects = {name: column.objects()[rows] for name, column in checked.items()}
    return (
        Batch(
            transaction_id=objects["transaction_id"],
            event_time=event_time[rows],
            amount_minor=columns.amount_minor[rows],
            currency=objects["currency"],
            card_token=objects["card_token"],
            terminal_id=objects["terminal_id"],
            content=content.mix(hashes)[rows],
            extras=_extras(objects, numbers, columns.attributes, rows),
        ),
        good,
    )


def labels(
    texts: Mapping[str, TextColumn],
    labelled_at: pa.StringArray | Ints,
    fraud: Bools,
    faults: Faults,
) -> tuple[Labels, Ints]:
    """The labels without a fault, and their places among the rows given.

    texts: transaction_id, source and reason. A reason is free text: card numbers in it are
    masked, not refused, so that no label is lost to one. Adds what it finds to `faults`.
    """
    checked = {
        "transaction_id": _text("transaction_id", texts["transaction_id"], faults),
        "source": _text("source", texts["source"], faults),
    }
    at = _times("labelled_at", labelled_at, faults, naive_is_utc=False)
    reason = _text("reason", texts["reason"], faults).objects()
    good = faults.good()
    return (
        Labels(
            transaction_id=checked["transaction_id"].objects()[good],
            labelled_at=at[good],
            fraud=fraud[good],
            source=checked["source"].objects()[good],
            reason=_masked(reason[good]),
        ),
        good,
    )


def missing(name: str, column: pa.Array, faults: Faults) -> None:
    """Notes the rows in which a required field is null."""
    if column.null_count:
        faults.add(as_mask(column.is_null()), Reason.MISSING_FIELD, name, "required")


def _masked(reasons: Texts) -> Texts:
    return texts([None if text is None else redaction.mask(text) for text in reasons])


def _times(name: str, given: pa.StringArray | Ints, faults: Faults, naive_is_utc: bool) -> Ints:
    if isinstance(given, np.ndarray):
        out = (given < times.EARLIEST) | (given > times.LATEST)
        faults.add(out, Reason.BAD_TIME, name, "not in the years 1970 to 2200")
        return given
    parsed = times.parse_column(given, naive_is_utc=naive_is_utc)
    faults.add(
        parsed.without_offset, Reason.TIME_WITHOUT_OFFSET, name, "the time has no offset from UTC"
    )
    faults.add(
        parsed.bad,
        Reason.BAD_TIME,
        name,
        lambda row: (
            f"not RFC 3339 in the years 1970 to 2200: {redaction.excerpt(given[row].as_py())}"
        ),
    )
    return parsed.micros


def _text(name: str, column: TextColumn, faults: Faults) -> TextColumn:
    """Checks a text column; what comes back has null where a text broke a rule."""
    values = column.values
    broken = np.zeros(len(values), dtype=np.bool_)

    def refuse(found: Bools, reason: Reason, detail: str, *, show: bool = False) -> None:
        if found.any():
            broken[found] = True
            faults.add(
                column.spread(found),
                reason,
                name,
                (lambda row: f"{detail}: {redaction.excerpt(column.text(row))}")
                if show
                else detail,
            )

    if name in CLOSED_LISTS:
        allowed, reason, detail = CLOSED_LISTS[name]
        known = pc.is_in(values, allowed, skip_nulls=True)
        refuse(~as_mask(known) & as_mask(values.is_valid()), reason, detail, show=True)
    elif name in SHAPES:
        shape, detail = SHAPES[name]
        unfit = pc.invert(pc.match_substring_regex(values, shape))
        refuse(as_mask(unfit), Reason.OUT_OF_RANGE, detail, show=True)
    else:
        most = ID_CHARACTERS if name == "transaction_id" else TEXT_CHARACTERS
        lengths = byte_lengths(values)
        empty = lengths == 0
        if values.null_count:
            empty &= as_mask(values.is_valid())
        refuse(empty, Reason.OUT_OF_RANGE, "empty")
        if lengths.max(initial=0) > most:  # of bytes, so perhaps of characters
            too_long = as_mask(pc.greater(pc.utf8_length(values), most))
            refuse(too_long, Reason.OUT_OF_RANGE, f"longer than {most} characters")
        refuse(_with_control(values), Reason.OUT_OF_RANGE, "holds a control character", show=True)
    if name in FREE_TEXTS:
        found = redaction.card_numbers(values, issued=name in OWN_NUMBERS)
        refuse(found, Reason.CARD_NUMBER, "a card number")
    return column.without(broken)


def _with_control(values: pa.StringArray) -> Bools:
    data = values.buffers()[2]
    raw = np.frombuffer(data if data is not None else b"", dtype=np.uint8)
    # One look at all bytes is far cheaper than a pattern, and nearly always settles it.
    if len(raw) == 0 or (raw.min() >= 0x20 and raw.max() < 0x7F):
        return np.zeros(len(values), dtype=np.bool_)
    return as_mask(pc.match_substring_regex(values, r"\p{Cc}"))


def _number(name: str, column: pa.DoubleArray, faults: Faults) -> npt.NDArray[np.float64]:
    """Checks a column of degrees; what comes back is NaN for null."""
    bound = BOUNDS[name]
    null = as_mask(column.is_null())
    values: npt.NDArray[np.float64] = np.where(null, np.nan, np.asarray(pc.fill_null(column, 0.0)))
    faults.add(
        ~null & ~(np.abs(values) <= bound),  # NaN is not in bounds
        Reason.OUT_OF_RANGE,
        name,
        lambda row: f"{values[row]} is not from {-bound} to {bound}",
    )
    return values


def _extras(
    objects: Mapping[str, Texts],
    numbers: Mapping[str, npt.NDArray[np.float64]],
    parsed: Sequence[Attributes | None] | None,
    rows: slice | Ints,
) -> dict[str, Texts]:
    """The optional fields that any of the rows has."""
    extras: dict[str, Texts] = {}
    for name in OPTIONAL_FIELDS:
        if name in objects:
            column = objects[name]
        elif name in numbers:
            values = numbers[name][rows]
            column = values.astype(object)
            column[np.isnan(values)] = None
        elif name == "attributes" and parsed is not None:
            column = texts(parsed)[rows]
        else:
            continue
        if any(value is not None for value in column):
            extras[name] = column
    return extras

"""RFC 3339 times, as text, into microseconds since the epoch."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.columns import as_mask
from tidegate.schema import SECOND, Bools, Ints, Reason, to_micros

EARLIEST = 0  # 1970-01-01
LATEST = 7_289_654_400 * SECOND - 1  # the last microsecond of 2200

_RFC_3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:)(\d{2})(\.\d+)?([Zz]|[+-]\d{2}:[0-5]\d)?", re.ASCII
)
# What Arrow reads as we do; the rest (lower case letters, more than six decimals, leap seconds,
# no offset, nonsense) goes one by one. Arrow alone would take more than RFC 3339 allows.
_COMMON = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})$"
)
_FEW = 64  # texts: fewer are faster one by one
_UTC_MICROS = pa.timestamp("us", "UTC")


class Times(NamedTuple):
    """A column of times. `micros` is 0 where a row is null, bad or without an offset."""

    micros: Ints
    bad: Bools
    without_offset: Bools


def parse(text: str, *, naive_is_utc: bool = False) -> int | Reason:
    """One time as microseconds since the epoch, or the reason why it is none.

    Decimals beyond the sixth are cut off; a leap second is the second that follows it.
    """
    found = _RFC_3339.fullmatch(text)
    if found is None:
        return Reason.BAD_TIME
    day, minute, second, decimals, offset = found.groups()
    if offset is None and not naive_is_utc:
        return Reason.TIME_WITHOUT_OFFSET
    leap = second == "60"
    zone = "+00:00" if offset is None or offset in "Zz" else offset
    try:
        at = datetime.fromisoformat(f"{day}T{minute}{59 if leap else second}{zone}")
        micros = to_micros(at)
    except (ValueError, OverflowError):  # no such day or hour; a year before 1 in UTC
        return Reason.BAD_TIME
    if leap:
        micros += SECOND
        if micros % (86_400 * SECOND) != 0:
            return Reason.BAD_TIME
    if decimals:
        micros += int(decimals[1:7].ljust(6, "0"))
    return micros if EARLIEST <= micros <= LATEST else Reason.BAD_TIME


def parse_column(values: pa.StringArray, *, naive_is_utc: bool = False) -> Times:
    """As `parse`, for a column; a null is neither bad nor without an offset."""
    rows = len(values)
    micros = np.zeros(rows, dtype=np.int64)
    bad = np.zeros(rows, dtype=np.bool_)
    without_offset = np.zeros(rows, dtype=np.bool_)
    one_by_one = np.arange(rows)
    if rows >= _FEW:
        common = pc.fill_null(pc.match_substring_regex(values, _COMMON), False)
        # Where some day or hour does not exist Arrow does not say which, so all go one by one.
        with suppress(pa.ArrowInvalid):
            parsed = pc.if_else(common, values, None).cast(_UTC_MICROS)
            micros = np.array(pc.fill_null(parsed.cast(pa.int64()), 0))
            bad = (micros < EARLIEST) | (micros > LATEST)
            micros[bad] = 0
            one_by_one = np.flatnonzero(~as_mask(common))
    if len(one_by_one):
        those = values if len(one_by_one) == rows else values.take(pa.array(one_by_one))
        texts = those.to_pylist()
        for row, text in zip(one_by_one.tolist(), texts, strict=True):
            at = None if text is None else parse(text, naive_is_utc=naive_is_utc)
            if at is Reason.TIME_WITHOUT_OFFSET:
                without_offset[row] = True
            elif isinstance(at, Reason):
                bad[row] = True
            elif at is not None:
                micros[row] = at
    return Times(micros, bad, without_offset)

"""The rules for `attributes`, the one field of a transaction that is an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegate import redaction
from tidegate.columns import Faults, as_mask
from tidegate.schema import Reason

Attributes = Mapping[str, object]

MOST_BYTES = 4096  # as compact JSON
MOST_DEPTH = 16  # pickle and PostgreSQL both recurse

_JSON = msgspec.json.Encoder(order="sorted")
# What may be wrong with attributes shows in their JSON; only then they are walked through.
_SUSPECT = r"[0-9](?:[ -]?[0-9]){11}|\\u0000|[^\x00-\x7f]"


def check(given: Sequence[Attributes | None], faults: Faults) -> pa.StringArray:
    """Checks a column of attributes and adds what it finds to `faults`.

    What comes back is their JSON in one canonical form: compact, keys sorted; null where there
    are none or they are too long.
    """
    encoded = pa.array(
        [None if one is None else _encode(row, one, faults) for row, one in enumerate(given)],
        pa.binary(),
    )
    too_long = pc.greater(pc.binary_length(encoded), MOST_BYTES)
    faults.add(
        as_mask(too_long),
        Reason.OUT_OF_RANGE,
        "attributes",
        f"longer than {MOST_BYTES} bytes of JSON",
    )
    texts = pc.if_else(too_long, None, encoded).cast(pa.string())
    brackets = pc.add(pc.count_substring(texts, "{"), pc.count_substring(texts, "["))
    suspect = pc.or_(pc.greater(brackets, MOST_DEPTH), pc.match_substring_regex(texts, _SUSPECT))
    for row in np.flatnonzero(as_mask(suspect)).tolist():
        _walk(row, given[row], faults)
    return texts


def _encode(row: int, attributes: Attributes, faults: Faults) -> bytes | None:
    try:
        return _JSON.encode(attributes)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        faults.add_row(
            row,
            Reason.OUT_OF_RANGE,
            "attributes",
            "nested too deeply or holds too large a number",
        )
        return None


def _walk(row: int, attributes: object, faults: Faults) -> None:
    waiting: list[tuple[object, int]] = [(attributes, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, dict | list):
            if depth > MOST_DEPTH:
                detail = f"nested more than {MOST_DEPTH} deep"
                return faults.add_row(row, Reason.OUT_OF_RANGE, "attributes", detail)
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            waiting.extend((item, depth + 1) for item in inner)
        elif isinstance(value, str) and "\0" in value:
            detail = "holds the character U+0000, which jsonb refuses"
            return faults.add_row(row, Reason.OUT_OF_RANGE, "attributes", detail)
        elif isinstance(value, str | int) and redaction.holds_card_number(str(value)):
            return faults.add_row(row, Reason.CARD_NUMBER, "attributes", "holds a card number")
    return None

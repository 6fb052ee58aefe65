"""Card numbers: finding them, and writing text down without them.

A card number is 12 to 19 digits, possibly split by single spaces or dashes, that pass the Luhn
check (ISO/IEC 7812-1, annex B). One number in ten passes by chance; that is the price.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.columns import as_mask, byte_lengths
from tidegate.schema import Bools

PAYLOAD_CHARACTERS = 4096  # of a dead letter's payload
SHORTEST, LONGEST = 12, 19  # digits of a card number

_EXCERPT_CHARACTERS = 60
_DIGIT_GROUPS = re.compile(r"\d+(?:[ -]\d+)*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# In free text a number is taken for a card's only when no letter, digit or point touches it and
# it starts as cards do (2 to 6): identifiers in hexadecimal and clocks in milliseconds do not.
_EMBEDDED = re.compile(r"(?<![\w.])[2-6]\d{12,18}(?!\w)")
_WHOLE = re.compile(r"\d(?:[ -]?\d){11,18}")
# Numbers as card schemes issue them (ISO/IEC 7812 ranges, by scheme and length): American Express,
# Diners, JCB, Visa, Mastercard, and the Maestro, Discover and UnionPay ranges around 50 and 6.
_ISSUED = re.compile(
    r"3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|35\d{14}|4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}"
    r"|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|(?:50|5[6-9]|6\d)\d{10,17}"
)
_WHOLE_ARROW = r"^[0-9](?:[ -]?[0-9]){11,18}$"
_FEW = 64  # texts: fewer are faster one by one

_DOUBLED = np.array([0, 2, 4, 6, 8, 1, 3, 5, 7, 9], dtype=np.uint8)


def passes_luhn(digits: str) -> bool:
    """Whether a text of decimal digits passes the Luhn check."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        total += value if place % 2 == 0 else int(_DOUBLED[value])
    return total % 10 == 0


def is_card_number(text: str) -> bool:
    """Whether the text as a whole is a card number."""
    if not _WHOLE.fullmatch(text):
        return False
    return passes_luhn(text.replace(" ", "").replace("-", ""))


def holds_card_number(text: str) -> bool:
    """Whether free text is or contains what is most likely a card number."""
    if is_card_number(text) and (text[0] not in "01" or len(text) == 15):
        return True
    return any(passes_luhn(found.group()) for found in _EMBEDDED.finditer(text))


def is_issued_card_number(text: str) -> bool:
    """Whether the text as a whole is a card number of a length and range that schemes issue.

    For identifiers that are often long numbers of their own, such as those of merchants: of random
    numbers of 15 or 16 digits one or two in a hundred pass, not one in ten."""
    bare = text.replace(" ", "").replace("-", "")
    return is_card_number(text) and _ISSUED.fullmatch(bare) is not None


def card_numbers(values: pa.StringArray, *, issued: bool = False) -> Bools:
    """Which texts of a column are as a whole card numbers; False for null. issued: only those that
    `is_issued_card_number`."""
    found = _card_numbers(values)
    if issued and found.any():
        rows = np.flatnonzero(found)
        found[rows] = [is_issued_card_number(values[int(row)].as_py()) for row in rows]
    return found


def _card_numbers(values: pa.StringArray) -> Bools:
    found = np.zeros(len(values), dtype=np.bool_)
    rows = np.flatnonzero(byte_lengths(values) >= SHORTEST)
    if len(rows) == 0:
        return found
    if len(rows) < _FEW:
        found[rows] = [is_card_number(values[row].as_py()) for row in rows.tolist()]
        return found
    candidates = values if len(rows) == len(values) else values.take(pa.array(rows))
    if not pc.all(pc.string_is_ascii(candidates)).as_py():
        # Python's pattern knows the digits of all scripts, as int() does.
        found[rows] = [is_card_number(text) for text in candidates.to_pylist()]
        return found
    matched = as_mask(pc.match_substring_regex(candidates, _WHOLE_ARROW))
    if matched.any():
        found[rows[matched]] = _pass_luhn(candidates.filter(pa.array(matched)))
    return found


def _pass_luhn(candidates: pa.StringArray) -> Bools:
    bare = pc.replace_substring_regex(candidates, r"[ -]", "")
    # Zeros in front change nothing, as the check counts its places from the right.
    padded = pc.utf8_lpad(bare, LONGEST, "0").cast(pa.binary(LONGEST))
    raw = np.frombuffer(padded.buffers()[1], dtype=np.uint8)[: len(padded) * LONGEST]
    digits = raw.reshape(len(padded), LONGEST) - ord("0")
    digits[:, LONGEST - 2 :: -2] = _DOUBLED[digits[:, LONGEST - 2 :: -2]]
    return np.asarray(digits.sum(axis=1, dtype=np.int64) % 10 == 0)


def mask(text: str) -> str:
    """The text with every card number in it as its first 6 digits, stars, and its last 4."""
    return _DIGIT_GROUPS.sub(_mask_groups, text)


def redact(payload: bytes) -> str:
    """A payload as a dead letter keeps it.

    Card numbers are masked, invalid UTF-8 is replaced, control characters are written as
    `\\u0000`, and what goes beyond 4,096 characters is cut off.
    """
    # Enough bytes for 4,096 characters and the whole of a card number that the cut would split,
    # and no more: a payload may be very long.
    head = payload[: 4 * (PAYLOAD_CHARACTERS + 2 * LONGEST)]
    return _escape(mask(head.decode("utf-8", "replace")))[:PAYLOAD_CHARACTERS]


def excerpt(text: str) -> str:
    """A value for one line of a dead letter's detail: quoted, short, without card numbers."""
    head = text[: _EXCERPT_CHARACTERS + 2 * LONGEST]
    shown = _escape(mask(head))
    if len(shown) > _EXCERPT_CHARACTERS:
        shown = shown[:_EXCERPT_CHARACTERS] + "…"
    return f"'{shown}'"


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _mask_groups(found: re.Match[str]) -> str:
    """Masks every run of neighbouring groups that makes a card number, so that neither an expiry
    date behind a number nor a date in front of it hides it."""
    text = found.group()
    if len(text) < SHORTEST:
        return text
    groups = [range(*m.span()) for m in re.finditer(r"\d+", text)]
    masked = list(text)
    for first in range(len(groups)):
        places: list[int] = []
        for group in groups[first:]:
            if len(places) + len(group) > LONGEST:
                break
            places.extend(group)
            if len(places) >= SHORTEST and passes_luhn("".join(text[p] for p in places)):
                for place in places[6:-4]:
                    masked[place] = "*"
    return "".join(masked)

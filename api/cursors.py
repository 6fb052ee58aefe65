"""Positions in lists, as opaque text: where a page ended, whatever is added meanwhile."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

Row = TypeVar("Row")

LONGEST = 512  # characters; a transaction id of 64 characters of 4 bytes fits


class CursorError(ValueError):
    """A cursor that this list never gave out."""


def at_id(kind: str, at: datetime, key: str) -> str:
    """The cursor of a row known by a time and an id. `kind` names the list: the cursor of one is
    refused by the others."""
    return _encode([kind, at.astimezone(UTC).isoformat(), key])


def score_id(kind: str, score: float, key: str) -> str:
    """The cursor of a row known by a score and an id."""
    return _encode([kind, score, key])


def number_id(kind: str, number: int, key: str) -> str:
    """The cursor of a row known by a number and an id."""
    return _encode([kind, number, key])


def number(kind: str, key: int) -> str:
    """The cursor of a row known by a number."""
    return _encode([kind, key])


def text(kind: str, key: str) -> str:
    """The cursor of a row known by a text."""
    return _encode([kind, key])


def read_at_id(kind: str, cursor: str) -> tuple[datetime, str]:
    """What `at_id` was given. Raises CursorError."""
    match _decode(cursor):
        case [found, str(at), str(key)] if found == kind and "\x00" not in key:
            try:
                moment = datetime.fromisoformat(at)
            except ValueError as ex:
                raise CursorError("no time") from ex
            if moment.tzinfo is None:
                raise CursorError("a time without offset")
            return moment, key
    raise CursorError("not a cursor of this list")


def read_at_uuid(kind: str, cursor: str) -> tuple[datetime, UUID]:
    """What `at_id` was given, where the id is a UUID. Raises CursorError."""
    at, key = read_at_id(kind, cursor)
    return at, _uuid(key)


def read_at_number(kind: str, cursor: str) -> tuple[datetime, int]:
    """What `at_id` was given, where the id is a number. Raises CursorError."""
    at, key = read_at_id(kind, cursor)
    if not (key.isascii() and key.isdigit()) or len(key) > 18:
        raise CursorError("no number")
    return at, int(key)


def read_score_uuid(kind: str, cursor: str) -> tuple[float, UUID]:
    """What `score_id` was given, where the id is a UUID. Raises CursorError."""
    match _decode(cursor):
        case [found, float(score), str(key)] if found == kind and 0 <= score <= 1:
            return score, _uuid(key)
    raise CursorError("not a cursor of this list")


def read_number_uuid(kind: str, cursor: str) -> tuple[int, UUID]:
    """What `number_id` was given, where the id is a UUID. Raises CursorError."""
    match _decode(cursor):
        case [found, int(number), str(key)] if (
            found == kind and number is not True and number is not False and 0 <= number < 2**63
        ):
            return number, _uuid(key)
    raise CursorError("not a cursor of this list")


def read_number(kind: str, cursor: str) -> int:
    """What `number` was given. Raises CursorError."""
    match _decode(cursor):
        case [found, int(key)] if found == kind and key is not True and 0 <= key < 2**63:
            return key
    raise CursorError("not a cursor of this list")


def read_text(kind: str, cursor: str) -> str:
    """What `text` was given. Raises CursorError."""
    match _decode(cursor):
        case [found, str(key)] if found == kind and "\x00" not in key:
            return key
    raise CursorError("not a cursor of this list")


def page(
    rows: Sequence[Row], limit: int, name: Callable[[Row], str]
) -> tuple[Sequence[Row], str | None]:
    """The page to show of rows that were asked for with one more than `limit`, and the cursor of
    the next one: None where no row is left."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], name(rows[limit - 1])


def _uuid(key: str) -> UUID:
    try:
        return UUID(key)
    except ValueError as ex:
        raise CursorError("no UUID") from ex


def _encode(parts: list[str | int | float]) -> str:
    content = json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(cursor: str) -> object:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        decoded: object = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as ex:
        raise CursorError("not a cursor") from ex
    return decoded

"""Scored transactions, and the alerts of those that were not approved, written together."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, cast
from uuid import UUID, uuid5

import msgspec
import numpy as np
import numpy.typing as npt

from tidegate.schema import Decision, Decisions, Texts
from tidegate.store.connection import POSTGRES_EPOCH, Conn, Micros, MicrosLoader

# Alerts derive their id from their transaction's in this namespace. It must never change: a
# transaction written twice would raise two alerts.
ALERTS = UUID("5d9f64f1-7f0e-4ce5-9a53-2f6d0cbd6f11")

# Columns of `score` for optional fields that are searched; all others share the column `details`.
OWN_COLUMNS = ("merchant_id", "customer_id", "channel")

MAKE_INCOMING = """
CREATE TEMPORARY TABLE IF NOT EXISTS incoming (LIKE score, alert_id uuid) ON COMMIT DELETE ROWS
"""

# The order of `_rows`.
COPY_INCOMING = """
COPY incoming (
    transaction_id, card_token, terminal_id, currency, merchant_id, customer_id, channel, details,
    decision, reasons, alert_id, event_time, amount_minor, log_odds, score, propensity, features,
    scored_at, stream_time, model_version, policy_version
) FROM STDIN (FORMAT binary)
"""

# The first decision written stands. Only a row that was really inserted raises its alert; of rows
# that repeat within one call it is the first, so alerts are made of what `score` gave back. They
# join their cases one after the other, those of a card in the order of its payments (see
# `store.cases`); card by card, as each locks its case: workers share cards, as a payment is decided
# where its terminal is, and in any order of their own they would wait for each other.
STORE_INCOMING = """
WITH inserted AS (
    INSERT INTO score (
        transaction_id, event_time, card_token, terminal_id, amount_minor, currency, merchant_id,
        customer_id, channel, details, score, propensity, log_odds, decision, model_version,
        policy_version, features, reasons, scored_at, stream_time
    )
    SELECT
        transaction_id, event_time, card_token, terminal_id, amount_minor, currency, merchant_id,
        customer_id, channel, details, score, propensity, log_odds, decision, model_version,
        policy_version, features, reasons, scored_at, stream_time
    FROM incoming
    ON CONFLICT DO NOTHING
    RETURNING
        transaction_id, event_time, card_token, terminal_id, amount_minor, currency, merchant_id,
        score, decision, model_version, reasons
), alerted AS (
    INSERT INTO alert (
        alert_id, transaction_id, event_time, card_token, terminal_id, merchant_id, amount_minor,
        currency, score, decision, reasons, model_version
    )
    SELECT
        i.alert_id, s.transaction_id, s.event_time, s.card_token, s.terminal_id, s.merchant_id,
        s.amount_minor, s.currency, s.score, s.decision, s.reasons, s.model_version
    FROM inserted AS s
    JOIN incoming AS i USING (transaction_id, event_time)
    WHERE s.decision <> 'approve' AND i.alert_id IS NOT NULL
    ORDER BY s.card_token, s.event_time, i.alert_id
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM inserted
"""


STANDING = """
SELECT s.transaction_id, s.event_time, s.score, s.decision, s.reasons, s.model_version,
       s.scored_at, s.amount_minor, s.currency, s.card_token, s.terminal_id, s.merchant_id
FROM unnest(%(ids)s::text[], %(times)b::timestamptz[]) AS asked (transaction_id, event_time)
JOIN score AS s USING (transaction_id, event_time)
"""


def alert_id(transaction_id: str) -> UUID:
    """The id of a transaction's alert: the same however often it is written."""
    return uuid5(ALERTS, transaction_id)


def prepare(conn: Conn) -> None:
    """Makes the session's temporary table, which `copy` fills, unless it is there."""
    conn.execute(MAKE_INCOMING)


def copy(conn: Conn, parts: Sequence[Decisions]) -> None:
    """Sends the decisions to the temporary table. Not in a pipeline: libpq has no COPY there. Text
    must not contain NUL (`psycopg.errors.DataError`)."""
    with conn.cursor() as cur, cur.copy(COPY_INCOMING) as out:
        out.write(_HEADER)
        for part in parts:
            out.write(b"".join(_rows(part)))
        out.write(_TRAILER)


def merge(conn: Conn) -> Callable[[], int]:
    """Writes those of the transaction's copied decisions that are not there yet, with their alerts.
    Gives what tells how many were new, to be called after the pipeline where this is part of one.
    """
    merged = conn.execute(STORE_INCOMING)
    return lambda: int((merged.fetchone() or (0,))[0])


def write(conn: Conn, parts: Sequence[Decisions]) -> int:
    """Writes the decisions that are not there yet, with their alerts; returns how many were new.

    A transaction that is stored already keeps its first decision, and of rows that repeat within
    `parts` the first is written. The parts may name different versions and have features of
    different widths. Text must not contain NUL (`psycopg.errors.DataError`).
    """
    if not any(len(part) for part in parts):
        return 0
    prepare(conn)
    copy(conn, parts)
    return merge(conn)()


def standing(
    conn: Conn, ids: Sequence[str], times: Sequence[int]
) -> dict[tuple[str, int], tuple[Any, ...]]:
    """The decisions that are stored for these ids and event times (microseconds since the epoch),
    by id and time; a row is as in STANDING, times in microseconds too."""
    with conn.cursor(binary=True) as cur:
        cur.adapters.register_loader("timestamptz", MicrosLoader)
        cur.execute(STANDING, {"ids": list(ids), "times": [Micros(at) for at in times]})
        return {(row[0], row[1]): row for row in cur}


# PostgreSQL's binary COPY format: a header, rows of fields that each begin with their length in
# bytes (-1 for null), a trailer. All integers are big-endian.
_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)
_COLUMNS = struct.pack("!h", 21)
_NULL = struct.pack("!i", -1)
_JSONB = b"\x01"  # the version byte before the text of a jsonb
_EMPTY_LIST = struct.pack("!i", 3) + _JSONB + b"[]"
_LENGTHS = [struct.pack("!i", length) for length in range(1024)]


def _rows(part: Decisions) -> Iterator[bytes]:
    """The rows of the part as fields, row after row. Every column is made at once; a row costs no
    Python call of its own beyond its JSON."""
    batch = part.batch
    extras = batch.extras
    decisions = part.decision.tolist()
    columns: list[Iterable[bytes]] = [
        repeat(_COLUMNS, len(part)),
        _distinct(batch.transaction_id),
        _distinct(batch.card_token),
        _repeating(batch.terminal_id),
        _repeating(batch.currency),
        *(_repeating(extras[name]) if name in extras else repeat(_NULL) for name in OWN_COLUMNS),
        _details(part),
        [_DECISIONS[decision] for decision in decisions],
        [_json(reasons) if reasons else _EMPTY_LIST for reasons in part.reasons],
        [
            _NULL if decision == Decision.APPROVE else _field(alert_id(of).bytes)
            for decision, of in zip(decisions, batch.transaction_id, strict=True)
        ],
        _numbers(part),
        repeat(
            _field(struct.pack("!q", part.scored_at - POSTGRES_EPOCH))
            + _field(struct.pack("!q", part.stream_time - POSTGRES_EPOCH))
            + _field(part.model_version.encode())
            + _field(part.policy_version.encode())
        ),
    ]
    return chain.from_iterable(zip(*columns, strict=False))


def _field(content: bytes) -> bytes:
    return struct.pack("!i", len(content)) + content


_DECISIONS = [_field(decision.name.lower().encode()) for decision in Decision]


def _distinct(column: Texts) -> list[bytes]:
    """Text fields of a column whose values are mostly different, none of them None."""
    encoded = [text.encode() for text in column]
    try:
        return [_LENGTHS[len(content)] + content for content in encoded]
    except IndexError:
        return [_field(content) for content in encoded]


class _Fields(dict[str | None, bytes]):
    """Text fields by value, encoded once."""

    def __missing__(self, text: str | None) -> bytes:
        field = _NULL if text is None else _field(text.encode())
        self[text] = field
        return field


def _repeating(column: Texts) -> list[bytes]:
    """Text fields of a column whose values repeat; None is null."""
    known = _Fields()
    return [known[text] for text in column]


def _details(part: Decisions) -> Iterable[bytes]:
    names = [name for name in part.batch.extras if name not in OWN_COLUMNS]
    if not names:
        return repeat(_NULL)
    rows = zip(*(part.batch.extras[name] for name in names), strict=True)
    kept = (
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in rows
    )
    return [_json(details) if details else _NULL for details in kept]


def _json(value: object) -> bytes:
    return _field(_JSONB + _ENCODER.encode(value))


def _plain(value: object) -> object:
    """Numpy's numbers, which readers may leave in optional fields, as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


def _numbers(part: Decisions) -> list[bytes]:
    """What is a number of every row, and its features, with their lengths."""
    width = part.features.shape[1]
    block = np.empty(
        len(part),
        dtype=[
            ("event_time_length", ">i4"),
            ("event_time", ">i8"),
            ("amount_minor_length", ">i4"),
            ("amount_minor", ">i8"),
            ("log_odds_length", ">i4"),
            ("log_odds", ">i8"),
            ("score_length", ">i4"),
            ("score", ">f8"),
            ("propensity_length", ">i4"),
            ("propensity", ">f4"),
            ("features_length", ">i4"),
            ("features", "<f4", (width,)),
        ],
    )
    for name in ("event_time", "amount_minor", "log_odds", "score"):
        block[f"{name}_length"] = 8
    block["propensity_length"] = 4
    block["features_length"] = 4 * width
    block["event_time"] = part.batch.event_time - POSTGRES_EPOCH
    block["amount_minor"] = part.batch.amount_minor
    block["log_odds"] = part.log_odds
    block["score"] = part.score
    block["propensity"] = part.propensity
    block["features"] = part.features
    # As plain bytes of one width, which a list holds as `bytes` objects.
    raw: npt.NDArray[np.void] = block.view(np.dtype((np.void, block.itemsize)))
    return cast(list[bytes], raw.tolist())

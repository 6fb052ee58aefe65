"""Dead letters are kept once each, whatever text they hold."""

from __future__ import annotations

import numpy as np

from tidegate.schema import DAY, DeadLetters, Reason, texts, to_datetime
from tidegate.store import dead_letters
from tidegate.store.connection import Conn


def made(*offsets: int, payload: str = "{", field: str | None = None) -> DeadLetters:
    rows = len(offsets)
    return DeadLetters(
        topic=texts(["transactions"] * rows),
        partition=np.full(rows, 3, dtype=np.int64),
        offset=np.array(offsets, dtype=np.int64),
        at=np.full(rows, DAY + 1, dtype=np.int64),
        reason=texts([Reason.MALFORMED] * rows),
        field=texts([field] * rows),
        detail=texts(["not JSON"] * rows),
        payload=texts([payload] * rows),
    )


def test_a_dead_letter_is_stored_with_where_it_came_from(conn: Conn) -> None:
    assert dead_letters.write(conn, made(7, 8, field="amount_minor")) == 2
    rows = conn.execute(
        'SELECT topic, partition, "offset", at, reason, field, detail, payload, replayed_at'
        ' FROM dead_letter ORDER BY "offset"'
    ).fetchall()
    assert rows[0] == (
        *("transactions", 3, 7, to_datetime(DAY + 1)),
        *("malformed", "amount_minor", "not JSON", "{", None),
    )
    assert len(rows) == 2


def test_a_replayed_message_is_one_dead_letter(conn: Conn) -> None:
    assert dead_letters.write(conn, made(7)) == 1
    assert dead_letters.write(conn, made(7, 8, 8)) == 1
    assert conn.execute("SELECT count(*) FROM dead_letter").fetchone() == (2,)


def test_text_that_the_database_refuses_is_made_storable(conn: Conn) -> None:
    dead_letters.write(conn, made(1, payload='{"a\0": "\ud800\n"}'))
    found = conn.execute("SELECT payload FROM dead_letter").fetchone()
    assert found == ('{"a\N{REPLACEMENT CHARACTER}": "\N{REPLACEMENT CHARACTER}\n"}',)


def test_no_dead_letters_are_no_error(conn: Conn) -> None:
    assert dead_letters.write(conn, made()) == 0

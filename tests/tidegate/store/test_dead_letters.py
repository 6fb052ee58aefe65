"""Dead letters are kept once each, whatever text they hold."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tidegate.schema import DAY, DeadLetters, Reason, texts, to_datetime
from tidegate.store import dead_letters, queries
from tidegate.store.connection import Conn, connect
from tidegate.store.queries import DeadLetter, DeadLetterFilter


@pytest.fixture
def conn(everywhere):
    return everywhere


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
    dead_letters.write(conn, made(7, 8, field="amount_minor"))
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
    dead_letters.write(conn, made(7))
    dead_letters.write(conn, made(7, 8, 8))
    assert conn.execute("SELECT count(*) FROM dead_letter").fetchone() == (2,)


def test_text_that_the_database_refuses_is_made_storable(conn: Conn) -> None:
    dead_letters.write(conn, made(1, payload='{"a\0": "\ud800\n"}'))
    found = conn.execute("SELECT payload FROM dead_letter").fetchone()
    assert found == ('{"a\N{REPLACEMENT CHARACTER}": "\N{REPLACEMENT CHARACTER}\n"}',)


def test_no_dead_letters_are_no_error(conn: Conn) -> None:
    dead_letters.write(conn, made())
    assert conn.execute("SELECT count(*) FROM dead_letter").fetchone() == (0,)


def stored(conn: Conn) -> DeadLetter:
    dead_letters.write(conn, made(7))
    (letter,) = queries.dead_letters(conn, DeadLetterFilter(), limit=2)
    return letter


def test_a_dead_letter_is_claimed_once_unless_it_is_asked_for_again(conn: Conn) -> None:
    letter = stored(conn)
    claimed = dead_letters.claim(conn, letter, again=False)
    found = queries.dead_letter(conn, letter.id)
    assert found is not None
    assert found.replayed_at == claimed is not None
    assert dead_letters.claim(conn, letter, again=False) is None
    again = dead_letters.claim(conn, letter, again=True)
    assert again is not None
    assert again > claimed


def test_of_two_that_claim_the_second_waits_and_gets_nothing(database: str) -> None:
    with (
        connect(database, application_name="first") as conn,
        connect(database, application_name="second") as other,
        ThreadPoolExecutor(1) as thread,
    ):
        letter = stored(conn)
        conn.commit()
        assert dead_letters.claim(conn, letter, again=False) is not None
        waits = thread.submit(dead_letters.claim, other, letter, again=False)
        with pytest.raises(TimeoutError):
            waits.result(0.3)
        conn.commit()
        assert waits.result(10) is None


def test_a_replay_is_written_into_the_audit(conn: Conn) -> None:
    letter = stored(conn)
    dead_letters.audit_replay(
        conn, letter, actor="cli:ann", topic="transactions", partition=2, offset=99
    )
    rows = conn.execute("SELECT actor, action, subject, before, after FROM audit").fetchall()
    after = {"topic": "transactions", "partition": 2, "offset": 99}
    assert rows == [("cli:ann", "dead_letter.replay", str(letter.id), None, after)]

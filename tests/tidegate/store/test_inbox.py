"""The inbox gives what was put in the order of its numbers, and loses nothing to concurrency."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tidegate.settings import Retention
from tidegate.store import inbox, retention
from tidegate.store.connection import Conn

NOW = datetime.now(UTC)


def put(conn: Conn, *ids: str) -> None:
    inbox.lock(conn)
    inbox.put_payments(conn, ids, [1] * len(ids), [f'"{id}"' for id in ids])


def read(conn: Conn, first: int = 0) -> list[str]:
    found = [waiting.message.strip('"') for waiting in inbox.read(conn, "payments", first, 1_000)]
    conn.rollback()
    return found


def test_a_reader_that_never_looks_back_misses_nothing_of_many_writers(
    session: Callable[[], Conn],
) -> None:
    def write(number: int) -> None:
        conn = session()
        for row in range(30):
            put(conn, f"{number}-{row}a", f"{number}-{row}b")
            conn.commit()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    conn, found, first = session(), [], 0
    while True:
        alive = any(writer.is_alive() for writer in writers)
        rows = inbox.read(conn, "payments", first, 7)
        conn.rollback()
        found += [row.message.strip('"') for row in rows]
        first = rows[-1].number + 1 if rows else first
        if not rows and not alive:
            break
    assert len(found) == len(set(found)) == 240
    for number in range(4):
        own = [id for id in found if id.startswith(f"{number}-")]
        assert own == [f"{number}-{row}{half}" for row in range(30) for half in "ab"]


def test_who_puts_waits_for_who_has_put_and_not_committed(session: Callable[[], Conn]) -> None:
    slow, quick, reader = session(), session(), session()
    put(slow, "first")
    done = threading.Event()

    def follow() -> None:
        put(quick, "second")
        quick.commit()
        done.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert not done.wait(0.3)
    assert read(reader) == []
    slow.commit()
    thread.join(10)
    assert read(reader) == ["first", "second"]


def test_labels_and_payments_are_read_apart(session: Callable[[], Conn]) -> None:
    conn = session()
    put(conn, "a")
    inbox.put_labels(conn, ["a", "a"], ['"x"', '"y"'])
    put(conn, "b")
    assert [row.message for row in inbox.read(conn, "labels", 0, 10)] == ['"x"', '"y"']
    assert [row.message for row in inbox.read(conn, "payments", 0, 1)] == ['"a"']
    assert inbox.count(conn, "payments", 0, 10) == 2
    assert inbox.count(conn, "payments", 0, 1) == 1


def test_only_what_was_read_goes_when_it_is_old(session: Callable[[], Conn]) -> None:
    conn = session()
    put(conn, *[f"old-{number}" for number in range(25)])
    inbox.put_labels(conn, ["a"], ['"label"'])
    conn.execute("UPDATE inbox SET at = at - interval '8 days'")
    put(conn, "young")
    assert inbox.claim_key(conn, "me", "old key", b"1")
    conn.execute("UPDATE idempotency_key SET at = at - interval '8 days'")
    assert inbox.claim_key(conn, "me", "young key", b"2")
    numbers = [row.number for row in inbox.read(conn, "payments", 0, 100)]
    inbox.note_read(conn, {"payments": numbers[20]})
    conn.commit()
    conn.autocommit = True
    kept = Retention(inbox_days=7)
    removed = [
        (step.table, step.rows)
        for step in retention.enforce(conn, kept, NOW, batch=15)
        if step.table in ("inbox", "idempotency_key")
    ]
    assert removed == [("inbox", 15), ("inbox", 5), ("idempotency_key", 1)]
    left = [row.message.strip('"') for row in inbox.read(conn, "payments", 0, 100)]
    assert left == [*(f"old-{number}" for number in range(20, 25)), "young"]
    assert len(inbox.read(conn, "labels", 0, 10)) == 1
    # A flow that goes back, to an older snapshot, takes nothing of what was said back.
    inbox.note_read(conn, {"payments": 1})
    assert list(retention.enforce(conn, kept, NOW + timedelta(seconds=1))) == []


def test_an_idempotency_key_belongs_to_its_first_request(session: Callable[[], Conn]) -> None:
    conn = session()
    assert inbox.claim_key(conn, "me", "key", b"1")
    assert inbox.claim_key(conn, "me", "key", b"1")
    assert not inbox.claim_key(conn, "me", "key", b"2")
    assert inbox.claim_key(conn, "you", "key", b"2")


def test_a_message_that_is_moved_to_the_end_is_read_again(session: Callable[[], Conn]) -> None:
    conn = session()
    put(conn, "a", "b")
    conn.commit()
    (first, second) = [waiting.number for waiting in inbox.read(conn, "payments", 0, 9)]
    inbox.lock(conn)
    moved = inbox.move_to_the_end(conn, "payments", first)
    assert moved is not None
    assert moved > second
    assert inbox.move_to_the_end(conn, "payments", first) is None
    conn.commit()
    assert read(conn) == ["b", "a"]
    inbox.take_out(conn, "payments", moved)
    inbox.take_out(conn, "payments", moved)  # it need not be there
    conn.commit()
    assert read(conn) == ["b"]

"""A dead letter's message goes into the inbox again, exactly once, on a real database."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from tests.tidegate.kafka.letters import GOOD, Written, corrected, letter_of
from tidegate import inbox_replay
from tidegate.replays import AlreadyReplayed, BadCorrection, CannotReplay, Replayed
from tidegate.schema import to_datetime
from tidegate.store import inbox, queries
from tidegate.store.connection import Conn
from tidegate.store.inbox import Kind
from tidegate.store.queries import DeadLetter

ID = "t-1"  # of the good one
LABEL = {
    "transaction_id": ID,
    "fraud": True,
    "source": "issuer",
    "labelled_at": "2026-03-01T12:00:00.000000Z",
}


def put(conn: Conn, id: str, message: str, kind: Kind = "payments") -> int:
    inbox.lock(conn)
    if kind == "payments":
        (number,) = inbox.put_payments(conn, [id], [7], [message])
    else:
        (number,) = inbox.put_labels(conn, [id], [message])
    conn.commit()
    return number


def dead(conn: Conn, number: int, kind: Kind = "payments") -> DeadLetter:
    (lying,) = [one for one in inbox.read(conn, kind, number, 1) if one.number == number]
    return letter_of(conn, Written(inbox.topic(kind), 0, number, to_datetime(lying.at)))


def replay(
    conn: Conn, letter: DeadLetter, correction: bytes | None = None, *, again: bool = False
) -> Replayed:
    with conn.transaction():
        done = inbox_replay.replay(conn, letter, correction=correction, actor="ann", again=again)
    conn.commit()
    return done


def lying(conn: Conn, kind: Kind = "payments") -> list[tuple[int, str]]:
    found = [(one.number, one.message) for one in inbox.read(conn, kind, 0, 100)]
    conn.rollback()
    return found


@pytest.mark.parametrize("kind", inbox.KINDS)
def test_the_original_goes_to_the_end_as_it_was(conn: Conn, kind: Kind) -> None:
    number = put(conn, "t-1", '{"as": "it was"}', kind)
    after = put(conn, "t-2", "{}", kind)
    letter = dead(conn, number, kind)
    done = replay(conn, letter)
    assert lying(conn, kind) == [(after, "{}"), (done.offset, '{"as": "it was"}')]
    assert (done.id, done.topic, done.partition) == (letter.id, f"inbox:{kind}", 0)
    marked = queries.dead_letter(conn, letter.id)
    assert marked is not None
    assert marked.replayed_at == done.replayed_at
    told = {"topic": f"inbox:{kind}", "partition": 0, "offset": done.offset}
    assert conn.execute("SELECT actor, action, subject, after FROM audit").fetchall() == [
        ("ann", "dead_letter.replay", str(letter.id), told)
    ]


def test_a_correction_takes_the_place_of_the_original_whose_id_it_may_have(conn: Conn) -> None:
    letter = dead(conn, put(conn, ID, "{"))
    done = replay(conn, letter, corrected())
    ((number, message),) = lying(conn)
    assert number == done.offset
    assert json.loads(message) == GOOD | {"event_time": "2026-03-01T12:00:00.000000Z"}
    # As the door sees it, for whoever sends it once more.
    assert inbox.contents(conn, [ID]) != {ID: 7}


def test_a_corrected_label_is_put(conn: Conn) -> None:
    letter = dead(conn, put(conn, "t-1", "{", "labels"), "labels")
    done = replay(conn, letter, json.dumps(LABEL).encode())
    number, message = lying(conn, "labels")[-1]
    assert (number, json.loads(message)) == (done.offset, LABEL)


def test_a_correction_with_the_id_of_another_payment_is_refused_and_changes_nothing(
    conn: Conn,
) -> None:
    number = put(conn, "t-9", "{")
    put(conn, ID, "{}")
    letter, before = dead(conn, number), lying(conn)
    with pytest.raises(BadCorrection, match="id_reused: transaction_id"):
        replay(conn, letter, corrected())
    conn.rollback()
    assert lying(conn) == before
    found = queries.dead_letter(conn, letter.id)
    assert found is not None
    assert found.replayed_at is None


def test_a_correction_that_breaks_the_contract_is_refused(conn: Conn) -> None:
    letter = dead(conn, put(conn, "t-1", "{"))
    with pytest.raises(BadCorrection, match="unknown_currency"):
        replay(conn, letter, corrected(currency="XXQ"))


def test_an_original_that_is_gone_needs_a_correction(conn: Conn) -> None:
    number = put(conn, "t-1", "{")
    letter = dead(conn, number)
    inbox.take_out(conn, "payments", number)
    conn.commit()
    with pytest.raises(CannotReplay, match="no longer in the inbox: give the corrected message"):
        replay(conn, letter)
    conn.rollback()
    assert replay(conn, letter, corrected()).offset > number


def test_a_second_replay_needs_to_be_asked_for(conn: Conn) -> None:
    letter = dead(conn, put(conn, "t-1", "{", "labels"), "labels")
    replay(conn, letter)
    marked = queries.dead_letter(conn, letter.id)
    assert marked is not None
    with pytest.raises(AlreadyReplayed):
        replay(conn, marked)
    conn.rollback()
    replay(conn, marked, json.dumps(LABEL).encode(), again=True)
    assert len(lying(conn, "labels")) == 2


def test_of_two_at_once_one_puts_it_and_the_other_is_refused(
    conn: Conn, session: Callable[[], Conn]
) -> None:
    letter = dead(conn, put(conn, "t-1", "{"))
    first, second = session(), session()
    outcome: list[BaseException | Replayed] = []

    def wait() -> None:
        try:
            outcome.append(replay(second, letter))
        except CannotReplay as refused:
            outcome.append(refused)

    with first.transaction():
        inbox_replay.replay(first, letter, correction=None, actor="ann", again=False)
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    first.commit()
    waiting.join(20)
    assert [type(one) for one in outcome] == [AlreadyReplayed]
    assert len(lying(conn)) == 1

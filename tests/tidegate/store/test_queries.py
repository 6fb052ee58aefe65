from __future__ import annotations

import random

import pytest
from psycopg.types.json import Jsonb

from tests.api.rows import at, put_dead_letter, put_label, put_score
from tidegate.store import queries
from tidegate.store.queries import DeadLetterFilter, DecisionFilter

ALL = DecisionFilter()


@pytest.fixture
def conn(everywhere):
    return everywhere


def walk(conn, which=ALL, limit=7, between=lambda: None):
    """The ids of all pages, in order."""
    seen: list[str] = []
    after = None
    while True:
        page = queries.decisions(conn, which, limit=limit, after=after)
        if not page:
            return seen
        seen += [row.transaction_id for row in page]
        after = page[-1].event_time, page[-1].transaction_id
        between()


def test_a_decision_is_read_with_all_its_inputs(conn):
    put_score(conn, "t-1", 3, details=Jsonb({"mcc": "5411"}), channel="ecom", log_odds=2**60)
    record = queries.decision(conn, "t-1")
    assert record is not None
    assert (record.event_time, record.channel, record.log_odds) == (at(3), "ecom", 2**60)
    assert record.details == {"mcc": "5411"}
    assert record.propensity == 1.0
    assert len(record.features) == 12


def test_an_unknown_decision_is_none(conn):
    assert queries.decision(conn, "t-1") is None


def test_the_first_decision_of_an_id_used_twice_is_shown(conn):
    put_score(conn, "t-1", 10, score=0.2)
    put_score(conn, "t-1", 5, score=0.1)
    record = queries.decision(conn, "t-1")
    assert record is not None
    assert record.score == 0.1


def test_decisions_come_newest_event_first_and_equal_times_by_id_backwards(conn):
    for transaction_id, seconds in (("a", 1), ("B", 2), ("b", 2), ("é", 2), ("c", 3)):
        put_score(conn, transaction_id, seconds)
    assert walk(conn, limit=1) == ["c", "é", "b", "B", "a"]


def test_pages_meet_every_decision_once_though_rows_are_added_in_between(conn):
    rng = random.Random(11)
    names = iter(f"n-{n:05}" for n in range(100_000))
    there = []
    for _ in range(40):
        there.append(next(names))
        put_score(conn, there[-1], rng.randrange(5))

    def add():
        for seconds in (0.5, 2, 9):
            put_score(conn, next(names), seconds)

    seen = walk(conn, between=add)
    assert len(seen) == len(set(seen))
    assert set(there) <= set(seen)


@pytest.mark.parametrize(
    ("which", "wanted"),
    [
        (DecisionFilter(card_token="card-2"), ["t-2"]),
        (DecisionFilter(terminal_id="terminal-3"), ["t-3"]),
        (DecisionFilter(decision="decline"), ["t-4", "t-2"]),
        (DecisionFilter(since=at(2), until=at(4)), ["t-3", "t-2"]),
        (DecisionFilter(since=at(3), decision="decline"), ["t-4"]),
        (DecisionFilter(until=at(1)), []),
    ],
)
def test_filters_leave_what_was_asked_and_times_are_half_open(conn, which, wanted):
    for n in range(1, 5):
        put_score(
            conn,
            f"t-{n}",
            n,
            card_token=f"card-{n}",
            terminal_id=f"terminal-{n}",
            decision="decline" if n % 2 == 0 else "approve",
        )
    assert walk(conn, which, limit=1) == wanted


def test_labels_come_with_the_standing_one_first(conn):
    put_label(conn, "t-1", 1, fraud=True, source="customer")
    put_label(conn, "t-1", 9, fraud=False, source="analyst")
    put_label(conn, "t-1", 9, fraud=True, source="issuer", reason="stolen")
    found = queries.labels(conn, "t-1")
    assert [(label.source, label.fraud) for label in found] == [
        ("issuer", True),
        ("analyst", False),
        ("customer", True),
    ]
    standing = conn.execute("SELECT source FROM standing_label").fetchall()
    assert standing == [(found[0].source,)]


def test_dead_letters_come_last_stored_first_in_pages_that_meet_each_once(conn):
    for offset in range(10):
        put_dead_letter(conn, offset)
    everything = DeadLetterFilter()
    first = queries.dead_letters(conn, everything, limit=4)
    put_dead_letter(conn, 10)
    rest = queries.dead_letters(conn, everything, limit=20, after=first[-1].id)
    assert [letter.offset for letter in first + rest] == list(range(9, -1, -1))


@pytest.mark.parametrize(
    ("which", "wanted"),
    [
        (DeadLetterFilter(reason="card_number"), [3, 0]),
        (DeadLetterFilter(topic="labels"), [4, 2, 0]),
        (DeadLetterFilter(replayed=False), [5, 4, 2, 1]),
        (DeadLetterFilter(replayed=True), [3, 0]),
        (DeadLetterFilter(reason="malformed", topic="labels", replayed=False), [4, 2]),
    ],
)
def test_dead_letters_are_those_that_were_asked_for(conn, which, wanted):
    for offset in range(6):
        put_dead_letter(
            conn,
            offset,
            topic="labels" if offset % 2 == 0 else "transactions",
            reason="card_number" if offset % 3 == 0 else "malformed",
            replayed_at=at(100) if offset % 3 == 0 else None,
        )
    found = queries.dead_letters(conn, which, limit=20)
    assert [letter.offset for letter in found] == wanted


def test_one_dead_letter_is_read_by_its_id(conn):
    put_dead_letter(conn, 7)
    (listed,) = queries.dead_letters(conn, DeadLetterFilter(), limit=1)
    assert queries.dead_letter(conn, listed.id) == listed
    assert queries.dead_letter(conn, listed.id + 1) is None


def test_those_that_wait_come_in_the_order_they_were_stored(conn):
    for offset in (5, 3, 9):
        put_dead_letter(conn, offset)
    put_dead_letter(conn, 4, replayed_at=at(1))
    put_dead_letter(conn, 6, reason="bad_time")
    everything = queries.dead_letters(conn, DeadLetterFilter(), limit=20)
    offsets = {letter.id: letter.offset for letter in everything}
    assert [offsets[id] for id in queries.waiting(conn, "malformed")] == [5, 3, 9]


def test_the_newest_decision_is_that_of_the_newest_event(conn):
    assert queries.newest_decision(conn) is None
    put_score(conn, "t-1", 10, scored_at=at(100))
    put_score(conn, "t-2", 5, scored_at=at(200))
    assert queries.newest_decision(conn) == (at(10), at(100))

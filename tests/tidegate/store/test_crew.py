"""Where supervisors meet: what is said of members and ordered."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import psycopg

from tidegate.store import connection, crew
from tidegate.store.crew import END_WELL, RUN, Member, Order

A = Member(uuid4(), "a", "10.0.0.7:2101", {"shards": 4})
B = Member(uuid4(), "b", "10.0.0.8:2101", {"shards": 4}, leaving=True)


def opened(url: str) -> psycopg.Connection:
    return connection.connect(url, application_name="tidegate-test")


def test_what_a_member_said_last_stands(database: str) -> None:
    with opened(database) as conn:
        crew.say(conn, B)
        crew.say(conn, A)
        told = replace(A, generation=3, code=1, reason="fenced", leaving=True)
        crew.say(conn, told)
        found = crew.members(conn)
    assert [replace(one, silent=0.0) for one in found] == [told, B]
    assert all(0 <= one.silent < 60 for one in found)


def test_who_is_silent_for_long_is_forgotten(database: str) -> None:
    with opened(database) as conn:
        crew.say(conn, A)
        conn.execute("UPDATE crew_member SET seen_at = now() - interval '61 seconds'")
        crew.say(conn, B)
        assert crew.members(conn)[0].silent >= 61
        crew.forget(conn, 60.0)
        assert [one.session for one in crew.members(conn)] == [B.session]


def test_the_order_of_the_newest_generation_stands(database: str) -> None:
    first = Order(1, (A.session,), ("10.0.0.1:2101", A.address), RUN)
    with opened(database) as conn:
        assert crew.ordered(conn) is None
        crew.order(conn, first)
        assert crew.ordered(conn) == first
        second = Order(2, (), (), RUN)
        crew.order(conn, second)
        crew.order(conn, replace(first, stop=END_WELL))
        assert crew.ordered(conn) == second
        crew.order(conn, replace(second, stop=END_WELL))
        assert crew.ordered(conn) == replace(second, stop=END_WELL)

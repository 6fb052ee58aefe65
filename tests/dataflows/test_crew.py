"""How a leader sees those who offer workers: who works, who is left out, and who is lost."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from dataflows.crew import Board, ManyMachines, Patience
from dataflows.processes import Spare
from dataflows.supervisor import LOST, Worker
from tests.waiting import wait_until
from tidegate.store import connection, crew
from tidegate.store.crew import END_NOW, END_WELL, RUN, Member, Order

QUICK = Patience(settle=0.3, fresh=3.0, silence=4.0, start=2.0, end=0.5, forget=60.0)
SETTINGS: dict[str, Any] = {"shards": 4, "review": 0.3}
SLEEP = (sys.executable, "-c", "import sys; sys.stdin.read()")  # until its supervisor is gone


def member(name: str, **facts: Any) -> Member:
    return Member(uuid4(), name, f"{name}:2101", facts.pop("settings", SETTINGS), **facts)


class World:
    """A leader's crew, and members that say what they are told to."""

    def __init__(self, database: str, board: Board, spare: Spare, most: int = 4) -> None:
        self.database = database
        self.board = board
        self.crew = ManyMachines(board, "leader:2101", SETTINGS, most, spare, QUICK)
        self.started: list[Worker] = []

    def say(self, *members: Member) -> None:
        with connection.connect(self.database, application_name="tidegate-test") as conn:
            for one in members:
                crew.say(conn, one)
        wait_until(lambda: all(self._seen(one) for one in members), 10.0)

    def start(self, generation: int) -> list[Worker]:
        self.close()
        self.started = list(self.crew.start({"generation": generation}))
        return self.started[1:]

    def wait_ordered(self, wanted: Order) -> None:
        with connection.connect(self.database, application_name="tidegate-test") as conn:
            conn.autocommit = True
            wait_until(lambda: crew.ordered(conn) == wanted, 10.0)

    def close(self) -> None:
        for worker in self.started:
            worker.close()

    def _seen(self, one: Member) -> bool:
        seen = self.board.members().get(one.session)
        return seen is not None and replace(seen, silent=0.0) == one


@pytest.fixture
def world(database: str) -> Iterator[World]:
    with closing(Board(database, QUICK)) as board, closing(Spare(SLEEP)) as spare:
        made = World(database, board, spare)
        yield made
        made.close()


def sessions(*members: Member) -> tuple[UUID, ...]:
    return tuple(one.session for one in members)


def test_alone_it_has_no_addresses(world: World) -> None:
    assert world.start(1) == []
    world.wait_ordered(Order(1, (), (), RUN))
    assert not world.crew.differs()


def test_all_who_offer_work_with_the_leader_first(world: World) -> None:
    b, a = member("b"), member("a")
    world.say(b, a)
    workers = world.start(1)
    assert [worker.name for worker in workers] == ["worker 1 (a)", "worker 2 (b)"]
    addresses = ("leader:2101", "a:2101", "b:2101")
    world.wait_ordered(Order(1, sessions(a, b), addresses, RUN))


def test_no_more_work_than_there_are_shards_and_those_who_do_go_on(world: World) -> None:
    others = [member(name) for name in "bcde"]
    world.say(*others)
    assert len(world.start(1)) == 3
    world.say(member("a"))  # it comes before them by its name
    time.sleep(3 * QUICK.settle)
    world.say(*others)
    assert not world.crew.differs()


def test_a_new_one_is_waited_for_until_it_has_offered_for_a_while(world: World) -> None:
    world.start(1)
    world.say(member("a"))
    assert not world.crew.differs()
    wait_until(world.crew.differs, 10.0)
    assert len(world.start(2)) == 1
    assert not world.crew.differs()


def test_one_that_wants_to_leave_is_let_go_at_once(world: World) -> None:
    a = member("a")
    world.say(a)
    world.start(1)
    world.say(replace(a, leaving=True))
    assert world.crew.differs()
    assert world.start(2) == []


def test_one_with_other_settings_is_left_out_and_told_of_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.say(member("a", settings=SETTINGS | {"review": 0.4}))
    with caplog.at_level(logging.WARNING):
        assert world.start(1) == []
        assert world.start(2) == []
    said = [record.getMessage() for record in caplog.records]
    assert said == ["a is left out: its review is 0.4, here it is 0.3"]


def test_what_a_member_says_of_its_worker_is_what_becomes_of_it(world: World) -> None:
    a = member("a")
    world.say(a)
    (worker,) = world.start(7)
    assert worker.poll() is None
    world.say(replace(a, generation=7))
    assert worker.poll() is None
    world.say(replace(a, generation=7, code=3, reason="fenced"))
    assert (worker.poll(), worker.reason()) == (3, "fenced")


@pytest.mark.parametrize("generation", [None, 6])
def test_one_that_is_not_started_in_time_is_lost(world: World, generation: int | None) -> None:
    a = member("a", generation=generation, code=None if generation is None else 0)
    world.say(a)
    (worker,) = world.start(7)
    assert worker.poll() is None
    time.sleep(QUICK.start)
    world.say(a)
    assert worker.poll() == LOST


def test_one_that_is_silent_is_lost_and_does_not_work_in_the_next_life(world: World) -> None:
    a = member("a")
    world.say(a)
    (worker,) = world.start(7)
    world.say(replace(a, generation=7))
    wait_until(lambda: worker.poll() == LOST)
    assert world.start(8) == []


def test_how_a_worker_ended_stands_however_long_ago_it_was_told(world: World) -> None:
    a = member("a")
    world.say(a)
    (worker,) = world.start(7)
    world.say(replace(a, generation=7, code=0, leaving=True))
    time.sleep(QUICK.silence + 0.5)
    assert worker.poll() == 0


def test_one_that_does_not_end_at_once_when_told_is_lost(world: World) -> None:
    a = member("a", generation=7)
    world.say(replace(a, generation=None))
    (worker,) = world.start(7)
    world.say(a)
    worker.end()
    order = Order(7, sessions(a), ("leader:2101", "a:2101"), END_WELL)
    world.wait_ordered(order)
    assert worker.poll() is None
    worker.end(at_once=True)
    worker.end()  # which does not take it back
    world.wait_ordered(replace(order, stop=END_NOW))
    time.sleep(QUICK.end)
    world.say(a)
    assert worker.poll() == LOST


def test_a_leader_that_was_replaced_orders_nothing(world: World) -> None:
    world.start(7)
    world.wait_ordered(Order(7, (), (), RUN))
    with connection.connect(world.database, application_name="tidegate-test") as conn:
        crew.order(conn, Order(8, (), (), RUN))
    world.board.order(Order(7, (), (), END_NOW))
    time.sleep(1.0)
    world.wait_ordered(Order(8, (), (), RUN))


def test_the_last_order_is_told_when_the_leader_ends(database: str) -> None:
    with closing(Board(database, QUICK)) as board:
        board.order(Order(3, (), (), RUN))
        board.order(Order(3, (), (), END_WELL))
    with connection.connect(database, application_name="tidegate-test") as conn:
        assert crew.ordered(conn) == Order(3, (), (), END_WELL)

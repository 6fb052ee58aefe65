"""A worker gives signs of life while its flow gets anywhere or waits for what is away."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from dataflows.noting import busy, noting
from dataflows.pulse import Listener, beating
from tests.waiting import wait_until

EVERY, LONGEST = 0.01, 0.3


@pytest.fixture
def pipe() -> Iterator[tuple[Listener, int]]:
    ours, theirs = os.pipe()
    listener = Listener(ours)
    yield listener, theirs
    listener.close()
    os.close(theirs)


@noting
def flow_waits_for(event: threading.Event) -> None:
    event.wait(30.0)


def test_between_calls_of_the_flow_there_are_signs_however_long_it_takes(
    pipe: tuple[Listener, int],
) -> None:
    listener, theirs = pipe
    with beating(theirs, {}, EVERY, LONGEST):
        time.sleep(2 * LONGEST)
        for _ in range(3):
            wait_until(lambda: listener.silent() == 0.0, 20.0)
    assert listener.silent() >= 0.0
    time.sleep(5 * EVERY)
    assert listener.silent() > 0.0, "it goes on after its end"
    assert listener.told() == ""


def test_a_call_that_does_not_come_back_falls_silent_unless_what_it_needs_is_away(
    pipe: tuple[Listener, int],
) -> None:
    listener, theirs = pipe
    away: list[str] = []
    back = threading.Event()
    checks = {"sound": lambda: None, "database": lambda: away[0] if away else None}
    flow = threading.Thread(target=flow_waits_for, args=[back])
    with beating(theirs, checks, EVERY, LONGEST):
        flow.start()
        try:
            wait_until(lambda: listener.silent() > 3 * LONGEST, 20.0)
            away.append("the database does not answer")
            wait_until(lambda: listener.silent() == 0.0, 20.0)
            away.clear()
            wait_until(lambda: listener.silent() > 3 * LONGEST, 20.0)
        finally:
            back.set()
            flow.join()
        assert busy() == 0.0
        wait_until(lambda: listener.silent() == 0.0, 20.0)


def test_a_call_that_fails_has_come_back() -> None:
    @noting
    def fails() -> None:
        assert busy() >= 0.0
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    assert busy() == 0.0


def test_a_stall_of_whoever_listens_is_not_the_workers_silence() -> None:
    ours, theirs = os.pipe()
    times = iter([0.0, 3600.0, 7200.0, 7200.5])
    listener = Listener(ours, lambda: next(times))
    assert [listener.silent() for _ in range(3)] == [1.0, 2.0, 2.5]
    listener.close()
    os.close(theirs)


def test_what_is_told_is_heard_among_the_signs_and_after_the_end() -> None:
    ours, theirs = os.pipe()
    listener = Listener(ours)
    with beating(theirs, {}, EVERY, LONGEST):
        wait_until(lambda: listener.silent() == 0.0, 20.0)
        os.write(theirs, "der Plan ist weg: größer".encode())
        time.sleep(3 * EVERY)
    os.close(theirs)
    assert listener.told() == "der Plan ist weg: größer"
    listener.close()


def test_it_ends_quietly_when_nobody_listens_any_more() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with beating(theirs, {}, EVERY, LONGEST):
        wait_until(lambda: "tidegate-pulse" not in [t.name for t in threading.enumerate()], 20.0)
    os.close(theirs)

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from api.figures import Figures
from tidegate.store.stats import Totals

NOTHING = Totals(0, False, {}, {}, {}, 0, {}, None, 0, 0, None, {})


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def counting(clock, seconds):
    """Counts up, and takes that long for it."""
    counted = 0

    def count():
        nonlocal counted
        counted += 1
        clock.now += seconds
        return replace(NOTHING, scored=counted)

    return count


def test_totals_are_kept_for_a_second_at_least():
    clock = Clock()
    figures, count = Figures(clock), counting(clock, 0)
    assert figures.get(count).scored == 1
    clock.now += 0.9
    assert figures.get(count).scored == 1
    clock.now += 0.2
    assert figures.get(count).scored == 2


def test_counting_takes_a_tenth_of_the_time_at_most():
    clock = Clock()
    figures, count = Figures(clock), counting(clock, 4)
    figures.get(count)
    clock.now += 35
    assert figures.get(count).scored == 1
    clock.now += 2
    assert figures.get(count).scored == 2


def test_a_count_that_fails_is_tried_again_by_the_next_request():
    def fail():
        raise OSError("away")

    figures = Figures()
    with pytest.raises(OSError, match="away"):
        figures.get(fail)
    assert figures.get(lambda: NOTHING) is NOTHING


def test_while_one_counts_the_others_get_the_last_totals():
    clock = Clock()
    figures = Figures(clock)
    figures.get(lambda: NOTHING)
    clock.now += 10
    started, end = threading.Event(), threading.Event()

    def slow():
        started.set()
        assert end.wait(10)
        return replace(NOTHING, scored=5)

    counter = threading.Thread(target=figures.get, args=(slow,))
    counter.start()
    assert started.wait(10)
    try:
        assert figures.get(slow) is NOTHING
    finally:
        end.set()
        counter.join(10)
    assert figures.get(slow).scored == 5

"""A day's ids: which transaction is new, which a repeat, which an id used again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.portable import pack, unpack
from models.recent import MOST, NEW, REPEAT, REUSED, RecentIds
from tests.models.rows import Payment, batch
from tidegate.schema import DAY, HOUR, Batch

NOW = 17_000 * DAY


def named(*pairs: tuple[str, int]) -> Batch:
    """A batch of ids, each with the hash of a content."""
    payments = batch([Payment(name) for name, _ in pairs])
    return replace(payments, content=np.array([content for _, content in pairs], np.uint64))


def saved_and_loaded(recent: RecentIds, most: int = MOST) -> RecentIds:
    loaded = RecentIds(most)
    loaded.load(unpack("r", 1, pack("r", 1, recent.dump())))
    return loaded


def test_equal_content_is_a_repeat_and_other_content_a_reused_id() -> None:
    recent = RecentIds()
    assert recent.check(named(("a", 1), ("b", 2)), NOW).tolist() == [NEW, NEW]
    found = recent.check(named(("a", 1), ("b", 3), ("c", 3), ("b", 2)), NOW + HOUR)
    assert found.tolist() == [REPEAT, REUSED, NEW, REPEAT]


def test_repeats_within_one_batch_are_found() -> None:
    found = RecentIds().check(named(("a", 1), ("a", 1), ("a", 2)), NOW)
    assert found.tolist() == [NEW, REPEAT, REUSED]


def test_an_id_is_remembered_for_24_hours_and_not_longer() -> None:
    for passed, found in ((DAY - 1, REPEAT), (DAY, NEW)):
        recent = RecentIds()
        recent.check(named(("a", 1)), NOW)
        assert recent.check(named(("a", 1)), NOW + passed).tolist() == [found]


def test_a_repeat_does_not_prolong_the_memory() -> None:
    recent = RecentIds()
    recent.check(named(("a", 1)), NOW)
    recent.check(named(("a", 1)), NOW + 23 * HOUR)
    assert recent.check(named(("a", 2)), NOW + 24 * HOUR).tolist() == [NEW]


def test_only_so_many_ids_are_remembered_and_the_oldest_go_first() -> None:
    recent = RecentIds(most=3)
    recent.check(named(*[(f"t{n}", n) for n in range(5)]), NOW)
    assert len(recent.dump()["lengths"]) == 3
    assert recent.check(named(("t4", 4), ("t3", 3), ("t2", 2)), NOW).tolist() == [REPEAT] * 3
    assert recent.check(named(("t0", 0)), NOW).tolist() == [NEW]


def test_it_is_the_same_in_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def played(piece: int) -> tuple[list[int], bytes]:
        monkeypatch.setattr("models.recent._PIECE", piece)
        recent = RecentIds(most=10)
        found: list[int] = []
        for step in range(60):
            numbers = range(step, step + step % 9)
            pairs = [(f"t{number * 7 % 90}", (number + step // 5) % 3) for number in numbers]
            found += recent.check(named(*pairs), NOW + step * HOUR).tolist()
            if step % 13 == 0:
                recent = saved_and_loaded(recent, most=10)
        return found, pack("r", 1, recent.dump())

    assert played(1) == played(4) == played(1_000)
    assert {NEW, REPEAT, REUSED} == set(played(4)[0])


def test_memory_is_bounded_over_a_long_stream() -> None:
    recent = RecentIds()
    for hour in range(24 * 10):
        recent.check(named(*[(f"{hour}-{n}", n) for n in range(10)]), NOW + hour * HOUR)
    assert len(recent.dump()["lengths"]) == 24 * 10


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 10),
            st.lists(st.tuples(st.sampled_from("abcdeé"), st.integers(0, 2)), max_size=5),
        ),
        max_size=20,
    )
)
def test_it_says_what_a_plain_record_of_arrivals_says_however_often_it_is_saved(
    steps: list[tuple[int, list[tuple[str, int]]]],
) -> None:
    straight, paused = RecentIds(), RecentIds()
    arrivals: dict[str, tuple[int, int]] = {}
    now = NOW
    for hours, pairs in steps:
        now += hours * HOUR
        wanted = []
        for name, content in pairs:
            at, known = arrivals.get(name, (now - DAY, 0))
            if now - at >= DAY:
                arrivals[name] = (now, content)
                wanted.append(NEW)
            else:
                wanted.append(REPEAT if known == content else REUSED)
        assert straight.check(named(*pairs), now).tolist() == wanted
        assert paused.check(named(*pairs), now).tolist() == wanted
        paused = saved_and_loaded(paused)

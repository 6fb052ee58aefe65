"""The stream of a run from files: in ticks, honest about time, and the same wherever it resumes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bytewax.inputs import StatefulSourcePartition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflows.feedback import LabelBook
from dataflows.files import MOST_ROWS, FileSource, Input, OtherFile, open_files
from dataflows.flight import MOST_ROWS as IN_FLIGHT
from dataflows.memory import MemoryStore
from dataflows.messages import Outcome, Step
from tests.dataflows.streams import START, decided, labels, opened_state, payments, write
from tidegate.readers import LabelFile
from tidegate.schema import DAY, HOUR, MINUTE, Batch, DeadLetters, Labels, View

UNKNOWN, GENUINE, FRAUD = (int(view) for view in View)
KEEP = 1000 * DAY

Told = tuple[str, int, bool, float]


def opened(
    directory: Path,
    batches: Sequence[Batch],
    told: Labels,
    *,
    maturity: int = 7 * DAY,
    dead: DeadLetters | None = None,
    **changes: Any,
) -> Input:
    """Files of the batches, one each, and the labels."""
    paths = [
        write(directory / str(number), batch, labels([]))[0] for number, batch in enumerate(batches)
    ]
    return Input(open_files(paths, None), LabelBook(told), dead, maturity, **changes)


class Reader:
    """Drives a source by hand; everything it hands out is served at once, as a store would."""

    def __init__(self, given: Input, store: Served | None = None, state: Any = None) -> None:
        self.store = Served() if store is None else store
        source = FileSource(given, self.store.memory, threading.Event())
        (part,) = source.list_parts()
        self.part: StatefulSourcePartition[Step, Any] = source.build_part("in", part, state)
        self.snapshots = [self.part.snapshot()]
        self.steps: list[Step] = []

    def next(self, *, serve: bool = True) -> Step | None:
        """The next step, None where the source waits; raises StopIteration at the end."""
        found = list(self.part.next_batch())
        if not found:
            return None
        (step,) = found
        self.steps.append(step)
        self.snapshots.append(self.part.snapshot())
        if serve:
            self.store.take(step)
        return step

    def all(self) -> list[Step]:
        """All steps to the end."""
        deadline = time.monotonic() + 30
        try:
            while time.monotonic() < deadline:
                self.next()
        except StopIteration:
            return self.steps
        raise AssertionError("the source did not come to its end")


class Served:
    """What was served: the first decision of a payment stands, as in the database."""

    def __init__(self) -> None:
        self.memory = MemoryStore(["all"], KEEP, lambda decisions: None)
        self.known: set[str] = set()

    def take(self, step: Step) -> None:
        fresh = [
            row for row, name in enumerate(step.batch.transaction_id) if name not in self.known
        ]
        self.known.update(step.batch.transaction_id)
        rows = step.batch.take(np.array(fresh, np.int64))
        part = decided(rows, stream_time=step.now) if fresh else None
        self.memory.write("all", [Outcome(step.number, decisions=part)])


def paid(step: Step) -> list[str]:
    return [str(name) for name in step.batch.transaction_id]


def known(step: Step) -> list[Told]:
    found = step.examples
    if found is None:
        return []
    columns = found.before.tolist(), found.fraud.tolist(), found.weight.tolist()
    return list(zip(found.transaction_id.tolist(), *columns, strict=True))


def stored_labels(step: Step) -> list[str]:
    return [] if step.labels is None else step.labels.transaction_id.tolist()


def shown(step: Step) -> tuple[Any, ...]:
    """A step as plain values, but for the wall clock."""
    dead = [] if step.dead is None else step.dead.offset.tolist()
    origin = step.origin.topic.tolist(), step.origin.offset.tolist()
    return step.number, step.now, paid(step), origin, known(step), stored_labels(step), dead


def hours(*at: float) -> list[int]:
    return [START + round(HOUR * hour) for hour in at]


def test_time_is_cut_into_hours_and_their_payments_come_in_order(tmp_path: Path) -> None:
    batch = payments(["d", "b", "a", "c", "e"], hours(2.5, 0.5, 0.5, 0.9, 2))
    steps = Reader(opened(tmp_path, [batch], labels([]))).all()
    assert [paid(step) for step in steps] == [["a", "b", "c"], ["e", "d"]]
    assert [step.now for step in steps] == hours(0, 2)
    assert [step.number for step in steps] == [0, 1]
    assert steps[0].origin.offset.tolist() == [2, 1, 3]
    assert set(steps[0].origin.topic) == {"transactions.parquet"}


def test_nothing_that_is_known_later_than_the_streams_time_is_handed_out(tmp_path: Path) -> None:
    at = hours(*range(0, 30))
    batch = payments([f"p{number:02}" for number in range(30)], at)
    rng = np.random.default_rng(5)
    told = labels(
        [(f"p{n:02}", at[n] + int(rng.integers(-HOUR, 20 * HOUR)), True) for n in range(0, 30, 3)]
    )
    times = dict(zip(told.transaction_id, told.labelled_at.tolist(), strict=True))
    steps = Reader(opened(tmp_path, [batch], told, maturity=8 * HOUR, drain=False)).all()
    made = dict(zip(batch.transaction_id, at, strict=True))
    for step in steps:
        assert all(times[name] <= step.now for name in stored_labels(step))
        for name, _, fraud, _ in known(step):
            assert made[name] < step.now
            assert times[name] <= step.now if fraud else made[name] + 8 * HOUR <= step.now
    assert len([name for step in steps for name in stored_labels(step)]) > 5


def test_a_future_label_that_is_planted_changes_nothing_before_it(tmp_path: Path) -> None:
    batch = payments(["a", "b", "c"], hours(0.5, 1.5, 2.5))
    (tmp_path / "planted").mkdir()
    without = Reader(opened(tmp_path, [batch], labels([]), drain=False)).all()
    planted = labels([("a", hours(2)[0] + 1, True), ("c", hours(50)[0], True)])
    given = opened(tmp_path / "planted", [batch], planted, drain=False)
    assert [shown(step) for step in Reader(given).all()] == [shown(step) for step in without]


def test_a_label_exactly_on_time_is_not_late(tmp_path: Path) -> None:
    batch = payments(["a", "b", "c", "d"], hours(0.5, 1, 2, 3))
    told = labels([("a", hours(2)[0], True), ("b", hours(2)[0] + 1, True)])
    steps = Reader(opened(tmp_path, [batch], told, drain=False)).all()
    assert [known(step) for step in steps] == [
        [],
        [],
        [("a", UNKNOWN, True, 0.0)],
        [("b", UNKNOWN, True, 0.0)],
    ]
    assert [stored_labels(step) for step in steps] == [[], [], ["a"], ["b"]]


def test_a_label_before_its_transaction_waits_and_comes_right_after(tmp_path: Path) -> None:
    batch = payments(["a", "b", "c", "d"], hours(0.5, 3.5, 4.5, 5.5))
    told = labels([("b", hours(0.1)[0], True), ("nobody", hours(0.1)[0], True)])
    reader = Reader(opened(tmp_path, [batch], told))
    steps = reader.all()
    assert [(paid(step), known(step), stored_labels(step)) for step in steps] == [
        (["a"], [], []),
        (["b"], [], ["b", "nobody"]),
        (["c"], [("b", UNKNOWN, True, 0.0)], []),
        (["d"], [], []),
    ]
    assert len(opened_state(reader.snapshots[-1])["waiting"]) == 1


def test_payments_mature_when_they_are_old_enough(tmp_path: Path) -> None:
    batch = payments(["a", "b", "c", "d"], hours(0.5, 1, 24, 25))
    told = labels([("a", hours(5)[0], True)])
    steps = Reader(opened(tmp_path, [batch], told, maturity=DAY, drain=False)).all()
    assert [known(step) for step in steps] == [
        [],
        [],
        [("a", UNKNOWN, True, 0.0)],
        [("a", FRAUD, True, 1.0), ("b", UNKNOWN, False, 1.0)],
    ]


def test_with_drain_the_stream_goes_on_until_the_last_label(tmp_path: Path) -> None:
    batch = payments(["a", "b"], hours(0.5, 1.5))
    told = labels([("b", hours(40.2)[0], True), ("a", hours(3)[0], True)])
    steps = Reader(opened(tmp_path, [batch], told, maturity=DAY)).all()
    assert [(step.now, known(step)) for step in steps[2:]] == [
        (hours(3)[0], [("a", UNKNOWN, True, 0.0)]),
        (
            hours(41)[0],
            [("a", FRAUD, True, 1.0), ("b", UNKNOWN, True, 0.0), ("b", FRAUD, True, 1.0)],
        ),
    ]
    undrained = opened(tmp_path / "no", [batch], told, maturity=DAY, drain=False)
    assert len(Reader(undrained).all()) == 2


def test_files_are_read_in_the_order_of_their_first_payments(tmp_path: Path) -> None:
    batches = [
        payments(names, hours(*at))
        for names, at in ((["c"], [8]), (["b"], [4]), (["a", "d"], [0, 5]))
    ]
    steps = Reader(opened(tmp_path, batches, labels([]))).all()
    assert [paid(step) for step in steps] == [["a"], ["d"], ["b"], ["c"]]
    assert [step.now for step in steps] == hours(0, 5, 5, 8)


def test_a_late_row_belongs_to_the_tick_in_which_it_came(tmp_path: Path) -> None:
    first = payments(["a", "b"], hours(0.5, 10.5))
    second = payments(["late", "c"], hours(3.5, 11.5))
    steps = Reader(opened(tmp_path, [first, second], labels([]))).all()
    assert [(step.now, paid(step)) for step in steps] == [
        (hours(0)[0], ["a"]),
        (hours(10)[0], ["b"]),
        (hours(10)[0], ["late"]),
        (hours(11)[0], ["c"]),
    ]


def test_a_late_rows_label_waits_for_it(tmp_path: Path) -> None:
    first = payments(["a", "b"], hours(0.5, 10.5))
    second = payments(["late", "c"], hours(3.5, 11.5))
    told = labels([("late", hours(5)[0], True)])
    steps = Reader(opened(tmp_path, [first, second], told)).all()
    assert [known(step) for step in steps] == [[], [], [], [("late", UNKNOWN, True, 0.0)]]


def test_dead_letters_go_with_the_stream_once(tmp_path: Path) -> None:
    path = tmp_path / "transactions.jsonl"
    good, _ = write(tmp_path / "good", payments(["a", "b"], hours(0.5, 1.5)), labels([]), "jsonl")
    lines = good.read_text().splitlines()
    path.write_text("\n".join(["broken", lines[0], "{}", lines[1]]) + "\n")
    only_bad = tmp_path / "bad.jsonl"
    only_bad.write_text("nothing good\n")
    bad_labels = tmp_path / "labels.jsonl"
    bad_labels.write_text("no label\n")
    found, dead = LabelFile(bad_labels).read()
    given = Input(open_files([only_bad, path], None), LabelBook(found), dead, 7 * DAY)
    steps = Reader(given).all()
    letters = [(step.dead.topic.tolist(), step.dead.offset.tolist()) for step in steps if step.dead]
    assert letters == [
        (["labels.jsonl"], [0]),
        (["transactions.jsonl"] * 2, [0, 2]),
        (["bad.jsonl"], [0]),  # no payment says when it would have its turn
    ]
    assert [name for step in steps for name in paid(step)] == ["a", "b"]


def scene(seed: int, *, late: bool) -> tuple[list[Batch], Labels]:
    """Payments of two days in two files, rows of the second late if told, and labels of all kinds:
    early, late, repeated, contradicting, of nobody."""
    rng = np.random.default_rng(seed)
    count = 40
    at = START + np.sort(rng.integers(0, 40 * HOUR, count))
    names = [f"p{number:02}" for number in rng.permutation(count)]
    cut = int(rng.integers(5, count - 5))
    if late:
        some = np.flatnonzero(rng.random(count) < 0.2)
        at[some[some >= cut]] -= 12 * HOUR
    told = [
        (names[row], int(at[row] + rng.integers(-3 * HOUR, 20 * HOUR)), bool(rng.random() < 0.8))
        for row in rng.integers(0, count, 15)
    ]
    return (
        [payments(names[part], at[part].tolist()) for part in (slice(0, cut), slice(cut, count))],
        labels([*told, ("nobody", START + HOUR, True)]),
    )


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1))
def test_from_any_snapshot_the_rest_of_the_stream_is_the_same(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    resume_from_every_snapshot(tmp_path_factory.mktemp("scene"), *scene(seed, late=False))


def test_from_any_snapshot_the_rest_is_the_same_with_late_rows_too(tmp_path: Path) -> None:
    for seed in range(3):
        resume_from_every_snapshot(tmp_path / str(seed), *scene(seed, late=True))


def resume_from_every_snapshot(directory: Path, batches: list[Batch], told: Labels) -> None:
    given = opened(directory, batches, told, maturity=6 * HOUR)
    reader = Reader(given)
    whole = [shown(step) for step in reader.all()]
    assert sorted(name for step in whole for name in step[2]) == sorted(
        name for batch in batches for name in batch.transaction_id
    )
    for number, state in enumerate(reader.snapshots):
        # The store may have been far ahead of the snapshot when the flow was killed.
        again = [shown(step) for step in Reader(given, reader.store, state).all()]
        assert again == whole[number:], f"from snapshot {number}"


def test_a_snapshot_is_not_changed_by_what_comes_after(tmp_path: Path) -> None:
    batches, told = scene(1, late=True)
    reader = Reader(opened(tmp_path, batches, told))
    reader.next()
    state = reader.part.snapshot()
    seen = repr(state)
    reader.all()
    assert repr(state) == seen


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    batch = payments(["a", "b"], hours(0.5, 1.5))
    reader = Reader(opened(tmp_path / "one", [batch], labels([])))
    reader.next()
    state = reader.snapshots[-1]
    longer = payments(["a", "b", "c"], hours(0.5, 1.5, 2))
    for other in (
        opened(tmp_path / "two", [longer], labels([])),
        opened(tmp_path / "three", [batch, batch], labels([])),
        opened(tmp_path / "four", [batch], labels([("a", hours(3)[0], True)])),
    ):
        with pytest.raises(OtherFile, match="same files") as refused:
            Reader(other, state=state)
        assert "\n" not in str(refused.value)
    # The same file elsewhere is the same file.
    Reader(opened(tmp_path / "five", [batch], labels([])), state=state)


def test_told_to_stop_the_source_ends_where_it_is(tmp_path: Path) -> None:
    batch = payments(["a", "b"], hours(0.5, 1.5))
    stop = threading.Event()
    given = opened(tmp_path, [batch], labels([]))
    store = Served()
    source = FileSource(given, store.memory, stop)
    part = source.build_part("in", "files", None)
    (step,) = part.next_batch()
    stop.set()
    with pytest.raises(StopIteration):
        part.next_batch()
    store.take(step)
    rest = Reader(given, store, part.snapshot()).all()
    assert [paid(step) for step in rest] == [["b"]]


def test_a_large_hour_comes_in_pieces_and_no_more_of_them_than_there_is_room_for(
    tmp_path: Path,
) -> None:
    count = IN_FLIGHT + 5 * MOST_ROWS
    batch = payments([f"p{n}" for n in range(count)], [START + n for n in range(count)])
    reader = Reader(opened(tmp_path, [batch], labels([])))
    while reader.next(serve=False) is not None:
        pass
    in_flight = sum(len(step.batch) for step in reader.steps)
    assert IN_FLIGHT < in_flight <= IN_FLIGHT + MOST_ROWS
    assert max(len(step.batch) for step in reader.steps) == MOST_ROWS
    assert reader.next(serve=False) is None
    for step in reader.steps[:2]:
        reader.store.take(step)
    assert reader.next(serve=False) is not None
    for step in reader.steps[2:]:
        reader.store.take(step)
    assert sum(len(step.batch) for step in reader.all()) == count


def test_small_steps_are_bounded_by_their_number(tmp_path: Path) -> None:
    count = 600
    batch = payments([f"p{n}" for n in range(count)], hours(*range(count)))
    reader = Reader(opened(tmp_path, [batch], labels([]), maturity=90 * DAY))
    while reader.next(serve=False) is not None:
        pass
    assert 500 <= len(reader.steps) < count
    for step in reader.steps[:]:
        reader.store.take(step)
    assert len(reader.all()) == count


def test_feedback_waits_until_what_it_needs_is_durable(tmp_path: Path) -> None:
    batch = payments(["a", "b", "c"], hours(0.5, 1.5, 26))
    reader = Reader(opened(tmp_path, [batch], labels([]), maturity=DAY))
    first, second = reader.next(serve=False), reader.next(serve=False)
    assert first is not None
    assert second is not None
    for _ in range(3):  # a and b mature with the next tick
        assert reader.next() is None
    reader.store.take(first)
    assert reader.next() is None
    reader.store.take(second)
    step = reader.next()
    assert step is not None
    assert [name for name, *_ in known(step)] == ["a", "b"]


def test_a_pace_holds_the_stream_back(tmp_path: Path) -> None:
    rows = 400
    batch = payments([f"p{n}" for n in range(rows)], [START + n * 6 * MINUTE for n in range(rows)])
    reader = Reader(opened(tmp_path, [batch], labels([]), pace=rows / 0.5))
    began = time.monotonic()
    reader.all()
    # The last step need not be waited out.
    assert 0.45 < time.monotonic() - began < 10

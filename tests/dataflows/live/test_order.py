"""The order step: numbered steps in order of time, and what became known learned before them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import pytest

from dataflows.live import feedback
from dataflows.live import order as ordering
from dataflows.live.order import OrderStep
from dataflows.live.pieces import Piece, Report
from dataflows.memory import MemoryStore
from dataflows.messages import Outcome, Step
from tests.dataflows.live.pieces import LABELS, PAYMENTS, piece, report, told
from tests.dataflows.streams import START, decided, payments
from tidegate.schema import DAY, HOUR, MINUTE, SECOND, DeadLetters, Served, View, texts

PATIENCE = 5.0
MATURITY = 2 * DAY


class Flow:
    """An order step with a store behind it that has everything at once, unless it is `slow`."""

    def __init__(self, partitions: Sequence[int] = (0,), state: bytes | None = None) -> None:
        self.store = MemoryStore(["all"], 10**18, lambda decisions: None)
        self.steps: list[Step] = []
        self.slow = False
        self.begin(partitions, state)

    def begin(self, partitions: Sequence[int], state: bytes | None) -> None:
        self.order = OrderStep(state, self.store, MATURITY, 1)
        self.give(report(0, partitions, [0]))

    def give(self, *values: Piece | Report) -> None:
        self._store(self.order.on_batch(list(values))[0])

    def settle(self) -> None:
        """Lets it look again until it waits for nothing but what is to come."""
        for _ in range(20):
            self._store(self.order.on_notify()[0])

    def land(self) -> None:
        """Stores what was sent while the store was slow."""
        self.slow = False
        for step in self.steps:
            if step.number > self.store.durable():
                self._write(step)

    def _store(self, steps: Sequence[Step]) -> None:
        for step in steps:
            assert step.number == len(self.steps)
            self.steps.append(step)
            if not self.slow:
                self._write(step)

    def _write(self, step: Step) -> None:
        part = decided(step.batch, stream_time=step.now) if len(step.batch) else None
        self.store.write("all", [Outcome(step.number, decisions=part, marks=step.marks)])

    @property
    def ids(self) -> list[str]:
        return [name for step in self.steps for name in step.batch.transaction_id]

    @property
    def learned(self) -> list[tuple[str, int, bool]]:
        """What was handed out to learn: id, the view before, fraud."""
        return [
            (name, int(before), bool(fraud))
            for step in self.steps
            if step.examples is not None
            for name, before, fraud in zip(
                step.examples.transaction_id,
                step.examples.before,
                step.examples.fraud,
                strict=True,
            )
        ]

    def step_of(self, name: str) -> int:
        return next(s.number for s in self.steps if name in s.batch.transaction_id)

    def learned_in(self, name: str) -> int:
        """The step with the first example of a payment."""
        return next(
            s.number
            for s in self.steps
            if s.examples is not None and name in s.examples.transaction_id
        )


def now() -> int:
    return int(time.time() * SECOND)


def test_a_backlog_is_worked_off_hour_by_hour_of_its_own_time() -> None:
    flow = Flow([0])
    times = [START, START + 10 * MINUTE, START + HOUR, START + 5 * HOUR]
    flow.give(piece(times), told([]))
    flow.settle()
    with_payments = [step for step in flow.steps if len(step.batch)]
    assert [step.now for step in with_payments] == [START, START + HOUR, START + 5 * HOUR]
    assert [len(step.batch) for step in with_payments] == [2, 1, 1]


def test_what_is_known_by_an_hour_is_learned_before_its_payments_and_not_sooner() -> None:
    flow = Flow([0])
    times = [START, START + HOUR, START + 2 * HOUR, START + 3 * HOUR]
    flow.give(piece(times, ids=["a", "b", "c", "d"]), told([("a", START + HOUR + MINUTE, True)]))
    flow.settle()
    assert flow.learned == [("a", View.UNKNOWN, True)]
    assert flow.step_of("b") < flow.learned_in("a") <= flow.step_of("c")


def test_silence_matures_a_payment_once() -> None:
    flow = Flow([0])
    flow.give(piece([START, START + MATURITY + HOUR, START + MATURITY + 5 * HOUR]), told([]))
    flow.settle()
    assert flow.learned == [("p0-0", View.UNKNOWN, False)]
    assert flow.learned_in("p0-0") <= flow.step_of("p0-1")


def test_old_payments_wait_for_what_is_to_be_learned_before_them() -> None:
    flow = Flow([0])
    flow.slow = True
    flow.give(piece([START, START + HOUR]), told([]))
    flow.settle()
    # The first hour's payment is not stored yet, so nobody can say what is known by the second.
    assert flow.ids == ["p0-0"]
    flow.land()
    flow.settle()
    assert flow.ids == ["p0-0", "p0-1"]


def test_fresh_payments_wait_for_no_learning() -> None:
    flow = Flow([0])
    flow.slow = True
    start = now() - 3 * MINUTE
    flow.give(told([]), piece([start]))
    flow.give(piece([start + MINUTE], first=1))
    flow.give(piece([start + 2 * MINUTE], first=2))
    assert flow.ids == ["p0-0", "p0-1", "p0-2"]


def test_a_fresh_label_is_stored_at_once_and_learned_when_the_database_has_answered() -> None:
    flow = Flow([0])
    start = now() - 2 * MINUTE
    flow.give(told([]), piece([start], ids=["a"]))
    flow.settle()
    flow.give(told([("a", now(), True)]))
    assert any(step.labels is not None for step in flow.steps)
    flow.give(piece([start + MINUTE + SECOND], first=1))
    flow.settle()
    assert flow.learned == [("a", View.UNKNOWN, True)]


def test_labels_do_not_wait_for_ever_for_a_payment(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = Flow([0])
    flow.give(piece([START], ids=["a"]), told([("a", START + DAY, True)]))
    flow.settle()
    assert flow.learned == []
    assert flow.order.notify_at() is not None  # it comes again by itself
    monkeypatch.setattr(ordering, "IDLE", 0.0)
    monkeypatch.setattr(feedback, "LABELS_EVERY", 0.0)
    flow.settle()
    assert [s.labels.transaction_id.tolist() for s in flow.steps if s.labels is not None] == [["a"]]
    assert flow.learned == [("a", View.UNKNOWN, True)]


def test_dead_letters_wait_for_nothing() -> None:
    dead = DeadLetters(
        texts([PAYMENTS]),
        np.array([0]),
        np.array([0]),
        np.array([START]),
        texts(["malformed"]),
        texts([None]),
        texts(["not JSON"]),
        texts(["{"]),
    )
    flow = Flow([0, 1])
    flow.give(piece([], first=1, dead=dead))
    assert [s.dead.payload.tolist() for s in flow.steps if s.dead is not None] == [["{"]]


def test_the_streams_time_never_passes_a_backlog() -> None:
    flow = Flow([0, 1])
    flow.give(piece([START], partition=1, at_end=False), piece([now()], partition=0), told([]))
    flow.settle()
    assert "p0-0" in flow.ids
    assert max(step.now for step in flow.steps) <= START


def test_the_first_payments_wait_until_every_partition_has_told_where_it_stands() -> None:
    flow = Flow([0, 1])
    at = now()
    flow.give(piece([at], partition=0))
    flow.settle()
    assert flow.ids == [], "there is no time yet that they could be scored at"
    flow.give(piece([], partition=1))
    flow.settle()
    assert flow.ids == []
    flow.give(told([]))
    flow.settle()
    assert flow.ids == ["p0-0"]
    assert [step.now for step in flow.steps if len(step.batch)] == [at // MINUTE * MINUTE]


def test_marks_follow_what_is_sent() -> None:
    flow = Flow([0])
    flow.give(piece([START, START + HOUR], first=5), told([("x", START, True)], first=2))
    flow.settle()
    assert flow.store.marks() == {(PAYMENTS, 0): 7, (LABELS, 0): 3}


@pytest.mark.parametrize("saved_after", range(0, 12, 2))
def test_saved_and_resumed_it_sends_and_learns_the_same(saved_after: int) -> None:
    rng = np.random.default_rng(5)
    pieces: list[Piece] = []
    offsets = [0, 0]
    for day in range(6):
        for partition in (0, 1):
            at = (START + day * DAY + np.sort(rng.integers(0, DAY, 5))).tolist()
            pieces.append(piece(at, partition=partition, first=offsets[partition], at_end=day == 5))
            offsets[partition] += len(at)
    names = [name for p in pieces for name in (p.rows.transaction_id if p.rows else ())]
    frauds = [(name, START + (2 + n) * DAY, n % 2 == 0) for n, name in enumerate(names[::9])]

    def outcome(save: bool) -> tuple[list[str], set[tuple[str, int, bool]]]:
        flow = Flow([0, 1])
        flow.give(told(frauds))
        for number, some in enumerate(pieces):
            flow.give(some)
            if save and number == saved_after:
                flow.begin([0, 1], flow.order.snapshot())
                flow.give(told([], first=len(frauds)))
            flow.settle()
        flow.settle()
        return flow.ids, set(flow.learned)

    ids, learned = outcome(save=False)
    assert len(ids) == len(names)
    assert outcome(save=True) == (ids, learned)


def test_a_round_under_way_is_begun_again_after_a_resume() -> None:
    flow = Flow([0])
    flow.give(told([("a", START + MINUTE, True)]), piece([START, START + HOUR], ids=["a", "b"]))

    class Never(MemoryStore):
        def between(self, after: int, until: int) -> Future[Served]:
            return Future()

    waiting = Flow([0])
    waiting.store = Never(["all"], 10**18, lambda decisions: None)
    waiting.begin([0], None)
    waiting.give(told([("a", START + MINUTE, True)]), piece([START, START + HOUR], ids=["a", "b"]))
    waiting.settle()
    assert waiting.learned == []
    waiting.store = flow.store
    waiting.store.write("all", [Outcome(99, decisions=decided(payments(["a"], [START])))])
    waiting.begin([0], waiting.order.snapshot())
    waiting.give(piece([], first=2), told([], first=1))
    waiting.settle()
    assert ("a", View.UNKNOWN, True) in waiting.learned

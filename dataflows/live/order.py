"""Puts what the slots read in order, cuts it into numbered steps, and feeds back what became known.

Time goes in ticks of the payments' own time, as from files. A backlog is worked off in ticks of an
hour: before the payments of a tick are scored, all that was known by its start is learned. What is
fresh waits for no learning; there a tick is a minute, and what became known follows when the
database has answered.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from bytewax.operators import StatefulBatchLogic

from dataflows.flight import NEVER as NO_PAYMENT
from dataflows.flight import Flight
from dataflows.live.feedback import Feedback
from dataflows.live.merge import ALWAYS, NEVER, Bounds, Merge
from dataflows.live.pieces import Kind, Piece, Report
from dataflows.messages import Origin, Step, no_rows
from dataflows.noting import noting
from dataflows.sealed import seal, unseal
from dataflows.store import History
from tidegate import metrics
from tidegate.schema import HOUR, MINUTE, Batch, Examples, Labels

KIND, VERSION = "order", 1

MOST_ROWS = 8192  # rows of one step
IDLE = 10.0  # seconds without a payment after which labels wait for none
_POLL = timedelta(milliseconds=2)  # between two looks at what it waits for


class OrderStep(StatefulBatchLogic[Piece | Report, Step, bytes]):
    """Pieces of all partitions in, steps of the stream out."""

    def __init__(self, state: bytes | None, history: History, maturity: int, slots: int) -> None:
        self._flight = Flight(history)
        self._serving = history.serving
        self._merge = Merge(slots)
        self._feedback = Feedback(history, self._flight, maturity)
        self._number = 0
        self._now: int | None = None  # the tick that payments are sent in; None before the first
        self._known: Examples | None = None  # to be sent with the next step
        self._labels: list[Labels] = []  # to be stored with the next step
        self._waiting = False
        self._moved = time.monotonic()  # when a payment was sent last
        if state is not None:
            value = unseal(KIND, VERSION, state, dict)
            self._number, self._now = value["number"], value["now"]
            self._merge.load(value["merge"])
            self._feedback.load(value["feedback"])

    @noting
    def on_batch(self, values: list[Piece | Report]) -> tuple[list[Step], bool]:
        """Takes in what was read; the steps that may go."""
        for value in values:
            if isinstance(value, Report):
                self._merge.report(value)
                if self._merge.reported:
                    self._merge.forget_gone()
            else:
                self._merge.add(value)
        return self._steps(), False

    @noting
    def on_notify(self) -> tuple[list[Step], bool]:
        """Looks again whether what it waited for has come."""
        return self._steps(), False

    def notify_at(self) -> datetime | None:
        """Soon while it waits for the database; else when labels may be looked for."""
        if self._waiting or self._feedback.busy:
            return datetime.now(UTC) + _POLL
        if self._now is None:
            return None
        due = self._feedback.due_in()
        if self._merge.labels_wait:
            due = min(IDLE if due is None else due, IDLE)
        return None if due is None else datetime.now(UTC) + timedelta(seconds=due)

    @noting
    def snapshot(self) -> bytes:
        """What was read and not sent, what became known, and the next step's number."""
        # What `on_batch` gave was sent, so nothing that belongs to a step is left.
        assert self._known is None
        assert not self._labels
        with metrics.SNAPSHOT_SECONDS.time():
            value = {
                "number": self._number,
                "now": self._now,
                "merge": self._merge.dump(),
                "feedback": self._feedback.dump(),
            }
            return seal(KIND, VERSION, value)

    def _steps(self) -> list[Step]:
        steps: list[Step] = []
        self._waiting = False
        bounds = self._merge.bounds()
        while True:
            self._learn()
            if not self._flight.room_now():
                self._waiting = True
                break
            step = self._next(bounds)
            if step is None:
                break
            steps.append(step)
        if self._known is not None or self._labels or self._merge.pending:
            steps.append(self._send(no_rows(), None, 0.0))
        return steps

    def _next(self, bounds: Bounds) -> Step | None:
        """The next step with payments, None when there is none to send now."""
        head = self._merge.head(Kind.PAYMENTS, bounds)
        if head is None:
            self._hear(bounds, ALWAYS if self._idle(bounds) else self._time())
            self._begin()
            return None
        if self._now is None and bounds.labels == NEVER:
            return None  # some partition has said nothing yet: nobody knows what the time is
        fresh = head >= bounds.fresh
        length = MINUTE if fresh else HOUR
        # Never beyond a backlog: its payments would be late, and mature before they come.
        tick = min(head, bounds.labels) // length * length
        if self._now is None or tick > self._now:
            self._hear(bounds, tick)
            if not fresh and not self._known_to(tick):
                self._waiting = True
                return None
            self._now = tick
        self._hear(bounds, self._now)
        self._begin()
        end = (max(head, self._now) // length + 1) * length
        taken = self._merge.take(Kind.PAYMENTS, bounds, end, MOST_ROWS)
        assert taken is not None
        self._moved = time.monotonic()
        return self._send(taken.rows, taken.origin, taken.received)

    def _known_to(self, tick: int) -> bool:
        """Whether all that was known by the tick's start is learned; sees to it."""
        feedback = self._feedback
        if feedback.known_to is not None and feedback.known_to >= tick:
            return True
        if not feedback.busy:
            feedback.begin(tick, self._number - 1)
        return False

    def _begin(self) -> None:
        if self._now is not None and self._feedback.wanted(self._now):
            self._feedback.begin(self._now, self._number - 1)

    def _idle(self, bounds: Bounds) -> bool:
        """Whether no payment is to be expected soon, so that labels need not wait for one to move
        the stream's time up to theirs."""
        return bounds.labels == ALWAYS and time.monotonic() - self._moved >= IDLE

    def _time(self) -> int:
        return 0 if self._now is None else self._now

    def _hear(self, bounds: Bounds, until: int) -> None:
        """Takes the labels that are known by `until`, and those that are fresh."""
        while (head := self._merge.head(Kind.LABELS, bounds)) is not None:
            if until < head < bounds.fresh:
                return
            before = ALWAYS if head >= bounds.fresh else until + 1
            taken = self._merge.take(Kind.LABELS, bounds, before, MOST_ROWS)
            assert taken is not None
            self._labels.append(taken.rows)
            self._feedback.hear(taken.rows)

    def _learn(self) -> None:
        known = self._feedback.poll()
        if known is not None and len(known):
            self._known = known if self._known is None else Examples.concat([self._known, known])

    def _send(self, batch: Batch, origin: Origin | None, received: float) -> Step:
        number, self._number = self._number, self._number + 1
        known, self._known = self._known, None
        labels, self._labels = self._labels, []
        least = int(batch.event_time.min()) if len(batch) else NO_PAYMENT
        if len(batch):
            self._feedback.passing(batch.transaction_id.tolist())
        self._flight.sent(number, len(batch), least)
        return Step(
            number,
            self._time(),
            received,
            batch,
            origin or _nowhere(batch),
            known,
            Labels.concat(labels) if labels else None,
            self._merge.take_dead(),
            self._merge.take_marks(),
            self._serving(),
        )


def _nowhere(batch: Batch) -> Origin:
    none = batch.event_time
    return Origin(batch.transaction_id, none, none, none)


def next_number(state: bytes) -> int:
    """The number of the step that a snapshot expects next. Raises BadState."""
    return int(unseal(KIND, VERSION, state, dict)["number"])

"""What a source has sent and the store does not have yet; and how to wait without blocking.

A wait is a generator that yields for as long as it must go on, so that a source can return from
`next_batch` in between.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future
from typing import TypeVar

from dataflows.store import History

MOST_ROWS = 65_536  # rows in flight; beyond, the source waits
MOST_STEPS = 512  # the same for steps, many of which may be small

NEVER = 2**62  # event time after all others, of a step without payments

T = TypeVar("T")
Waiting = Generator[None, None, T]  # yields while it waits, returns what it waited for


class Flight:
    """The steps between a source and the store, oldest first."""

    def __init__(self, history: History, pace: float = 0.0) -> None:
        """pace: rows a second of wall time to hold the source back to, 0 for none."""
        self._history = history
        self._steps: deque[tuple[int, int, int]] = deque()  # number, rows, least event time
        self._rows = 0
        self._seconds_a_row = 1 / pace if pace else 0.0
        self._due = time.monotonic()

    def sent(self, number: int, rows: int, least: int) -> None:
        """Notes a step that is sent. least: its earliest event time, NEVER without payments."""
        self._steps.append((number, rows, least))
        self._rows += rows
        # A source that fell behind its pace catches up with a second's worth at most.
        self._due = max(self._due, time.monotonic() - 1.0) + rows * self._seconds_a_row

    def room(self) -> Waiting[None]:
        """Waits until another step may be sent."""
        while time.monotonic() < self._due:
            yield None
        self._land()
        while self._rows > MOST_ROWS or len(self._steps) > MOST_STEPS:
            yield None
            self._land()

    def room_now(self) -> bool:
        """Whether another step may be sent; for a caller that comes again by itself."""
        if self._rows > MOST_ROWS // 2 or len(self._steps) > MOST_STEPS // 2:
            self._land()
        return self._rows <= MOST_ROWS and len(self._steps) <= MOST_STEPS

    def landed(self, number: int) -> bool:
        """Whether the store has the step and all before it, as far as is known."""
        if self._steps and self._steps[0][0] <= number:
            self._land()
        return not self._steps or self._steps[0][0] > number

    def durable(self, number: int) -> Waiting[None]:
        """Waits until the store has the step and all before it."""
        self._land()
        while self._steps and self._steps[0][0] <= number:
            yield None
            self._land()

    def durable_to(self, event_time: int) -> Waiting[None]:
        """Waits until the store has every payment sent of this time or an earlier one."""
        needed = [number for number, _, least in self._steps if least <= event_time]
        if needed:
            yield from self.durable(needed[-1])

    def has(self, event_time: int) -> bool:
        """Whether a payment of this time or an earlier one may be in flight."""
        self._land()
        return any(least <= event_time for _, _, least in self._steps)

    def _land(self) -> None:
        durable = self._history.durable()
        while self._steps and self._steps[0][0] <= durable:
            self._rows -= self._steps.popleft()[1]


def answer(asked: Future[T]) -> Waiting[T]:
    """Waits for the answer to a question."""
    while not asked.done():
        yield None
    return asked.result()

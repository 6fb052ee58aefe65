"""Many requests, one transaction: what comes while a transaction commits goes with the next one.

A commit costs the disk the same for one payment as for hundreds, and so do decoding and the lock
that numbers are given under.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from api.intake.asked import Busy

MOST_WAITING = 20_000  # messages of requests that wait; beyond, the next one is told at once
_MOST_AT_ONCE = 4_000  # messages of one group, unless a single request has more
# Seconds that the first of a group waits for company: here, in the flow and in the database a group
# of one costs as much as one of many, so at some hundred requests a second all are answered sooner.
_COMPANY = 0.01

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Ask(Generic[T, R]):
    """A request that waits. size: its messages."""

    given: T
    size: int
    done: Future[R] = field(default_factory=Future)


class Groups(Generic[T, R]):
    """One thread that has requests worked off in groups.

    work: takes what several requests gave, and gives a result or an error for each, or raises what
    is the matter with all of them.
    """

    def __init__(self, name: str, work: Callable[[Sequence[T]], Sequence[R | Exception]]) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._asks: deque[Ask[T, R]] = deque()
        self._waiting = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def ask(self, given: T, size: int) -> Future[R]:
        """Has it worked off. Raises Busy."""
        ask: Ask[T, R] = Ask(given, size)
        with self._changed:
            if self._closed or self._waiting + size > MOST_WAITING:
                raise Busy("too many payments wait to be taken in")
            self._asks.append(ask)
            self._waiting += size
            self._changed.notify()
        return ask.done

    def close(self) -> None:
        """Ends once all that was asked is worked off."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while asks := self._next():
            results: Sequence[Any]
            try:
                results = self._work([ask.given for ask in asks])
            except Exception as error:  # the requests tell of it
                results = [error] * len(asks)
            for ask, result in zip(asks, results, strict=True):
                if not ask.done.set_running_or_notify_cancel():
                    continue  # whoever asked has gone; what was taken stays taken
                if isinstance(result, Exception):
                    ask.done.set_exception(result)
                else:
                    ask.done.set_result(result)

    def _full(self) -> bool:
        return self._closed or self._waiting >= _MOST_AT_ONCE

    def _next(self) -> list[Ask[T, R]]:
        with self._changed:
            self._changed.wait_for(lambda: self._asks or self._closed)
            self._changed.wait_for(self._full, _COMPANY)
            taken: list[Ask[T, R]] = []
            size = 0
            while self._asks and (not taken or size + self._asks[0].size <= _MOST_AT_ONCE):
                taken.append(self._asks.popleft())
                size += taken[-1].size
            self._waiting -= size
            return taken

"""Reads back from the database what was served and how far it is stored, without blocking."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

from dataflows.messages import Marks
from models.features import WIDTH
from tidegate.link import Link
from tidegate.schema import Served
from tidegate.store import progress, promotions, served
from tidegate.store.connection import Conn

_POLL = 0.002  # seconds between two looks at how far the sink has come
_MARKS_POLL = 0.01  # the same for how far the sources are stored
_SERVING_POLL = 1.0  # the same for who serves

log = logging.getLogger(__name__)

T = TypeVar("T")


class DatabaseHistory:
    """Answers what was served from the database, one question after the other.

    promotes: asked of the database before it says who serves, where promotion is automatic.
    """

    def __init__(
        self,
        url: str,
        partitions: Sequence[str],
        generation: int = 0,
        promotes: Callable[[Conn], object] = lambda conn: None,
    ) -> None:
        self._partitions = partitions
        self._generation = generation
        self._closed = threading.Event()
        self._link = Link(url, "tidegate-history", self._closed)
        self._thread = ThreadPoolExecutor(1, "tidegate-history")
        self._durable = _Polled(partial(self._ask, self._read_durable), _POLL, -1)
        self._marks = _Polled[Marks](partial(self._ask, self._read_marks), _MARKS_POLL, {})
        self._promotes = promotes
        self._serving: _Polled[str] | None = None

    def durable(self) -> int:
        """The last step of which everything was durable when last looked; looks again for the
        next time."""
        return self._durable.newest()

    def marks(self) -> Marks:
        """How far the messages of Kafka's partitions were stored by this generation when last
        looked; looks again for the next time."""
        return self._marks.newest()

    def serving(self) -> str:
        """The model that is to serve when last looked; looks again for the next time. Waits for
        the first answer: what is scored by another model until it comes is not taken back."""
        if self._serving is None:
            ask = partial(self._ask, self._read_serving)
            self._serving = _Polled(ask, _SERVING_POLL, ask().result())
        before = self._serving.last
        serving = self._serving.newest()
        if serving != before:
            log.warning("another model serves", extra={"now": serving, "was": before})
        return serving

    def between(self, after: int, until: int) -> Future[Served]:
        """Payments with after < event time <= until (microseconds), by event time and id."""
        return self._ask(lambda conn: served.between(conn, after, until, WIDTH))

    def by_ids(self, ids: Sequence[str], now: int) -> Future[Served]:
        """The payments with these ids as far as they are there, of those decided before `now`
        (stream time, microseconds)."""
        return self._ask(lambda conn: served.by_ids(conn, ids, now, WIDTH))

    def away(self) -> str | None:
        """For how long the database has not answered, in words; None when it does."""
        return self._link.away()

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        self._thread.shutdown(cancel_futures=True)
        self._link.close()

    def _read_durable(self, conn: Conn) -> int:
        stored = progress.read(conn)
        return min(stored.get(name, -1) for name in self._partitions)

    def _read_marks(self, conn: Conn) -> Marks:
        return progress.read_marks(conn, self._generation)

    def _read_serving(self, conn: Conn) -> str:
        self._promotes(conn)
        return promotions.serving(conn)

    def _ask(self, job: Callable[[Conn], T]) -> Future[T]:
        return self._thread.submit(self._link.work, job)


class _Polled(Generic[T]):
    """The last answer to a question that is asked again, in the background, as long as somebody
    wants to know: `every` seconds after the answer before, at the earliest."""

    def __init__(self, ask: Callable[[], Future[T]], every: float, first: T) -> None:
        self.last = first
        self._ask = ask
        self._every = every
        self._asked: Future[T] | None = None
        self._answered_at = 0.0

    def newest(self) -> T:
        """The last answer; sees to the next one."""
        if self._asked is None:
            if time.monotonic() - self._answered_at >= self._every:
                self._asked = self._ask()
        elif self._asked.done():
            self.last = self._asked.result()
            self._asked, self._answered_at = None, time.monotonic()
        return self.last

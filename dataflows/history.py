"""Reads back from the database what was served and how far it is stored, without blocking."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from dataflows.link import Link
from dataflows.messages import Marks
from models.features import WIDTH
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
        self._durable = -1
        self._asked: Future[dict[str, int]] | None = None
        self._asked_at = 0.0
        self._marks: Marks = {}
        self._marks_asked: Future[dict[tuple[str, int], int]] | None = None
        self._marks_asked_at = 0.0
        self._promotes = promotes
        self._serving: str | None = None
        self._serving_asked: Future[str] | None = None
        self._serving_asked_at = 0.0

    def durable(self) -> int:
        """The last step of which everything was durable when last looked; looks again for the
        next time."""
        if self._asked is None:
            if time.monotonic() - self._asked_at >= _POLL:
                self._asked = self._ask(progress.read)
        elif self._asked.done():
            stored = self._asked.result()
            self._durable = min(stored.get(name, -1) for name in self._partitions)
            self._asked, self._asked_at = None, time.monotonic()
        return self._durable

    def marks(self) -> Marks:
        """How far the messages of Kafka's partitions were stored by this generation when last
        looked; looks again for the next time."""
        if self._marks_asked is None:
            if time.monotonic() - self._marks_asked_at >= _MARKS_POLL:
                self._marks_asked = self._ask(
                    lambda conn: progress.read_marks(conn, self._generation)
                )
        elif self._marks_asked.done():
            self._marks = self._marks_asked.result()
            self._marks_asked, self._marks_asked_at = None, time.monotonic()
        return self._marks

    def serving(self) -> str:
        """The model that is to serve when last looked; looks again for the next time. Waits for
        the first answer: what is scored by another model until it comes is not taken back."""
        if self._serving is None:
            self._serving = self._ask(self._who_serves).result()
        elif self._serving_asked is None:
            if time.monotonic() - self._serving_asked_at >= _SERVING_POLL:
                self._serving_asked = self._ask(self._who_serves)
        elif self._serving_asked.done():
            serving = self._serving_asked.result()
            if serving != self._serving:
                log.warning("another model serves", extra={"now": serving, "was": self._serving})
            self._serving = serving
            self._serving_asked, self._serving_asked_at = None, time.monotonic()
        return self._serving

    def _who_serves(self, conn: Conn) -> str:
        self._promotes(conn)
        return promotions.serving(conn)

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

    def _ask(self, job: Callable[[Conn], T]) -> Future[T]:
        return self._thread.submit(self._link.work, job)

"""The database behind the flow: one thread stores outcomes, another reads back what was served.

Neither ever blocks a step: they work behind a bounded queue and behind futures. While the database
is away both keep trying; the queue fills and the source waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import psycopg

from dataflows.messages import Outcome
from tidegate import metrics
from tidegate.schema import Decision, Labels, Served
from tidegate.store import connection, dead_letters, decisions, labels, models, progress, served
from tidegate.store.connection import Conn

log = logging.getLogger(__name__)

MOST_QUEUED = 32_768  # rows that may wait for the writer; beyond, the sink blocks
_MOST_AT_ONCE = 16_384  # rows of one transaction
_POLL = 0.002  # seconds between two looks at how far the sink has come
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between tries while the database is away

# What passes by itself: a lost or refused connection, a restart, a full disk, a deadlock.
_PASSING = (psycopg.OperationalError, psycopg.InterfaceError)

T = TypeVar("T")


class _Link:
    """One thread's connection, made anew after every failure."""

    def __init__(self, url: str, name: str, closed: threading.Event) -> None:
        self._url = url
        self._name = name
        self._closed = closed
        self._conn: Conn | None = None

    def work(self, job: Callable[[Conn], T]) -> T:
        """Does the job in a transaction of its own, again and again until the database lets it
        through. Raises what does not pass by itself, and anything once `closed` is set."""
        pause = _FIRST_PAUSE
        while True:
            try:
                if self._conn is None:
                    self._conn = connection.connect(self._url, application_name=self._name)
                with self._conn.transaction():
                    return job(self._conn)
            except _PASSING as error:
                self.close()
                if self._closed.is_set():
                    raise
                reason = " ".join(str(error).split())
                log.warning(
                    "%s: the database is away, next try in %g s: %s", self._name, pause, reason
                )
                self._closed.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """Closes the connection, if there is one."""
        if self._conn is not None:
            with suppress(psycopg.Error):
                self._conn.close()
            self._conn = None


class DatabaseWriter:
    """Stores outcomes in order, as many as are waiting in one transaction; fenced by generation.

    on_stored is called from the writer's thread with the outcomes of every commit.
    """

    def __init__(
        self,
        url: str,
        generation: int,
        on_stored: Callable[[Sequence[Outcome]], None] = lambda outcomes: None,
    ) -> None:
        self._generation = generation
        self._on_stored = on_stored
        self._closed = threading.Event()
        self._link = _Link(url, "tidegate-sink", self._closed)
        self._begin = _Link(url, "tidegate-sink", self._closed)
        self._changed = threading.Condition()
        self._queue: deque[tuple[str, Outcome]] = deque()
        self._queued_rows = 0
        self._taken: dict[str, int] = {}
        self._stored: dict[str, int] = {}
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tidegate-sink", daemon=True)
        self._thread.start()

    def begin(self, partition: str, sequence: int | None) -> None:
        """Opens a partition where its snapshot left it. Raises `progress.DatabaseBehind` and
        `progress.Fenced`."""
        self._begin.work(lambda conn: progress.begin(conn, self._generation, partition, sequence))
        with self._changed:
            self._taken[partition] = self._stored[partition] = -1 if sequence is None else sequence

    def write(self, partition: str, outcomes: list[Outcome]) -> None:
        """Queues outcomes; blocks while the queue is full. Raises what stopped the writer."""
        with self._changed:
            self._changed.wait_for(lambda: self._queued_rows < MOST_QUEUED or self._failure)
            self._raise_failure()
            for outcome in outcomes:
                self._queue.append((partition, outcome))
                self._queued_rows += _rows(outcome)
                self._taken[partition] = outcome.number
            self._changed.notify_all()

    def settle(self, partition: str) -> int:
        """Waits until everything taken for the partition is durable; gives its last step."""
        with self._changed:
            taken = self._taken[partition]
            self._changed.wait_for(lambda: self._stored[partition] >= taken or self._failure)
            self._raise_failure()
            return taken

    def close(self) -> None:
        """Ends the thread once the queue is empty, or at once when the database is away."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()
        self._link.close()
        self._begin.close()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while taken := self._next():
                self._link.work(lambda conn, taken=taken: self._store(conn, taken))  # type: ignore[misc]
                self._on_stored([outcome for _, outcome in taken])
                with self._changed:
                    self._queued_rows -= sum(_rows(outcome) for _, outcome in taken)
                    self._stored |= {partition: outcome.number for partition, outcome in taken}
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _next(self) -> list[tuple[str, Outcome]]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed.is_set())
            taken: list[tuple[str, Outcome]] = []
            rows = 0
            while self._queue and (not taken or rows < _MOST_AT_ONCE):
                taken.append(self._queue.popleft())
                rows += _rows(taken[-1][1])
            return taken

    def _store(self, conn: Conn, taken: list[tuple[str, Outcome]]) -> None:
        progress.advance(
            conn, self._generation, {partition: outcome.number for partition, outcome in taken}
        )
        outcomes = [outcome for _, outcome in taken]
        versions = {o.version.version: o.version for o in outcomes if o.version is not None}
        for version in versions.values():
            models.write_version(conn, version)
        decisions.write(conn, [o.decisions for o in outcomes if o.decisions is not None])
        told = [o.labels for o in outcomes if o.labels is not None]
        if told:
            labels.write(conn, Labels.concat(told))
        for outcome in outcomes:
            if outcome.dead is not None:
                dead_letters.write(conn, outcome.dead)
        models.write_metrics(conn, [metric for o in outcomes for metric in o.metrics])


class DatabaseHistory:
    """Answers what was served from the database, one question after the other."""

    def __init__(self, url: str, partitions: Sequence[str]) -> None:
        self._partitions = partitions
        self._closed = threading.Event()
        self._link = _Link(url, "tidegate-history", self._closed)
        self._thread = ThreadPoolExecutor(1, "tidegate-history")
        self._durable = -1
        self._asked: Future[dict[str, int]] | None = None
        self._asked_at = 0.0

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

    def between(self, after: int, until: int) -> Future[Served]:
        """Payments with after < event time <= until (microseconds), by event time and id."""
        return self._ask(lambda conn: served.between(conn, after, until))

    def by_ids(self, ids: Sequence[str]) -> Future[Served]:
        """The payments with these ids as far as they are there."""
        return self._ask(lambda conn: served.by_ids(conn, ids))

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        self._thread.shutdown(cancel_futures=True)
        self._link.close()

    def _ask(self, job: Callable[[Conn], T]) -> Future[T]:
        return self._thread.submit(self._link.work, job)


def count(outcomes: Sequence[Outcome]) -> None:
    """Shows stored outcomes in the metrics; for `DatabaseWriter(on_stored=...)`."""
    now = time.time()
    for outcome in outcomes:
        if outcome.decisions is not None:
            kinds = outcome.decisions.decision
            for kind in Decision:
                metrics.TRANSACTIONS.labels(kind.name.lower()).inc(int((kinds == kind).sum()))
            for score in outcome.decisions.score.tolist():
                metrics.SCORE.observe(score)
            latency = now - outcome.received
            for _ in range(len(kinds)):
                metrics.SCORING_LATENCY_SECONDS.observe(latency)
        if outcome.repeated is not None:
            metrics.TRANSACTIONS.labels("repeat").inc(len(outcome.repeated))
        if outcome.labels is not None:
            for source in outcome.labels.source:
                metrics.LABELS.labels(source).inc()
        if outcome.dead is not None:
            metrics.TRANSACTIONS.labels("dead_letter").inc(len(outcome.dead))
            for reason in outcome.dead.reason:
                metrics.DEAD_LETTERS.labels(reason).inc()


def _rows(outcome: Outcome) -> int:
    # A step without rows takes its place in the queue too.
    return 1 + (0 if outcome.decisions is None else len(outcome.decisions))

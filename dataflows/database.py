"""The database behind the flow: one thread stores outcomes, another reads back what was served.

Neither ever blocks a step: they work behind a bounded queue and behind futures. While the database
is away both keep trying; the queue fills and the source waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import numpy as np
import psycopg

from dataflows.messages import Marks, Outcome, Repeated
from dataflows.publisher import Publisher
from tidegate import metrics
from tidegate.kafka.outgoing import Stored, stored
from tidegate.schema import Decision, Labels, Served
from tidegate.store import connection, dead_letters, decisions, labels, models, progress, served
from tidegate.store.connection import Conn

log = logging.getLogger(__name__)

MOST_QUEUED = 32_768  # rows that may wait for the writer; beyond, the sink blocks
_MOST_AT_ONCE = 16_384  # rows of one transaction
_POLL = 0.002  # seconds between two looks at how far the sink has come
_MARKS_POLL = 0.01  # the same for how far the sources are stored
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between tries while the database is away

# What passes by itself: a lost or refused connection, a restart, a full disk, a deadlock.
_PASSING = (psycopg.OperationalError, psycopg.InterfaceError)

T = TypeVar("T")

Standing = Mapping[tuple[str, int], Stored]  # by id and event time


class _Link:
    """One thread's connection, made anew after every failure."""

    def __init__(self, url: str, name: str, closed: threading.Event) -> None:
        self._url = url
        self._name = name
        self._closed = closed
        self._conn: Conn | None = None
        self._away_since: float | None = None

    def away(self) -> str | None:
        """For how long the database has not answered, in words; None when it does."""
        since = self._away_since
        if since is None:
            return None
        return f"the database does not answer, for {time.monotonic() - since:.0f} s now"

    def work(self, job: Callable[[Conn], T]) -> T:
        """Does the job in a transaction of its own, again and again until the database lets it
        through. Raises what does not pass by itself, and anything once `closed` is set."""
        pause = _FIRST_PAUSE
        while True:
            try:
                if self._conn is None:
                    self._conn = connection.connect(self._url, application_name=self._name)
                with self._conn.transaction():
                    done = job(self._conn)
                self._away_since = None
                return done
            except _PASSING as error:
                self.close()
                self._away_since = self._away_since or time.monotonic()
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
    """Stores outcomes in order, as many as are waiting in one transaction, and then publishes
    what stands; fenced by generation.

    publisher: None where there is no Kafka to publish to. on_stored is called from the writer's
    thread with the outcomes of every commit.
    """

    def __init__(
        self,
        url: str,
        generation: int,
        on_stored: Callable[[Sequence[Outcome]], None] = lambda outcomes: None,
        publisher: Publisher | None = None,
    ) -> None:
        self._generation = generation
        self._publisher = publisher
        self._on_stored = on_stored
        self._closed = threading.Event()
        self._link = _Link(url, "tidegate-sink", self._closed)
        self._begin = _Link(url, "tidegate-sink", self._closed)
        self._changed = threading.Condition()
        self._queue: deque[tuple[str, Outcome]] = deque()
        self._queued_rows = 0
        self._last: dict[str, int] = {}  # the last step taken for each partition
        self._taken = 0  # outcomes so far
        self._done = 0  # of them, those that are stored and handed to the publisher
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tidegate-sink", daemon=True)
        self._thread.start()

    def begin(self, partition: str, sequence: int | None) -> None:
        """Opens a partition where its snapshot left it. Raises `progress.DatabaseBehind` and
        `progress.Fenced`."""
        self._begin.work(lambda conn: progress.begin(conn, self._generation, partition, sequence))
        with self._changed:
            self._last[partition] = -1 if sequence is None else sequence

    def write(self, partition: str, outcomes: list[Outcome]) -> None:
        """Queues outcomes; blocks while the queue is full. Raises what stopped the writer."""
        with self._changed:
            self._changed.wait_for(lambda: self._queued_rows < MOST_QUEUED or self._failure)
            self._raise_failure()
            for outcome in outcomes:
                self._queue.append((partition, outcome))
                self._queued_rows += _rows(outcome)
                self._last[partition] = outcome.number
            self._taken += len(outcomes)
            self._changed.notify_all()

    def settle(self, partition: str) -> int:
        """Waits until everything taken so far is durable, and acknowledged where it is published;
        gives the partition's last step."""
        while True:
            with self._changed:
                taken = self._taken
                self._changed.wait_for(lambda: self._done >= taken or self._failure)
                self._raise_failure()
                last = self._last[partition]
            if self._publisher is None:
                return last
            self._publisher.flush()
            refused = self._publisher.refused()
            if refused is None:
                return last
            self.write(partition, [Outcome(last, dead=refused)])

    def away(self) -> str | None:
        """For how long the database has not taken anything, in words; None when it does."""
        return self._link.away()

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
                standing = self._link.work(lambda conn, taken=taken: self._store(conn, taken))  # type: ignore[misc]
                outcomes = [outcome for _, outcome in taken]
                self._on_stored(outcomes)
                if self._publisher is not None:
                    _publish(self._publisher, outcomes, standing)
                with self._changed:
                    self._queued_rows -= sum(map(_rows, outcomes))
                    self._done += len(outcomes)
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

    def _store(self, conn: Conn, taken: list[tuple[str, Outcome]]) -> Standing:
        """Stores the outcomes; gives the decisions that stand in place of theirs, and those of
        repeats, where there is somebody to tell."""
        progress.advance(
            conn, self._generation, {partition: outcome.number for partition, outcome in taken}
        )
        outcomes = [outcome for _, outcome in taken]
        versions = {o.version.version: o.version for o in outcomes if o.version is not None}
        for version in versions.values():
            models.write_version(conn, version)
        parts = [o.decisions for o in outcomes if o.decisions is not None]
        inserted = decisions.write(conn, parts)
        told = [o.labels for o in outcomes if o.labels is not None]
        if told:
            labels.write(conn, Labels.concat(told))
        for outcome in outcomes:
            if outcome.dead is not None:
                dead_letters.write(conn, outcome.dead)
        models.write_metrics(conn, [metric for o in outcomes for metric in o.metrics])
        marks: dict[tuple[str, int], int] = {}
        for outcome in outcomes:
            marks |= outcome.marks
        progress.mark(conn, self._generation, marks)
        if self._publisher is None:
            return {}
        asked = [(o.repeated.transaction_id, o.repeated.event_time) for o in outcomes if o.repeated]
        if inserted < sum(map(len, parts)):
            # Something was decided before, in this transaction or in an earlier life.
            asked += [(part.batch.transaction_id, part.batch.event_time) for part in parts]
        ids = [name for names, _ in asked for name in names.tolist()]
        if not ids:
            return {}
        times = [at for _, times in asked for at in times.tolist()]
        rows = decisions.standing(conn, ids, times)
        return {place: Stored(*row) for place, row in rows.items()}


class DatabaseHistory:
    """Answers what was served from the database, one question after the other."""

    def __init__(self, url: str, partitions: Sequence[str], generation: int = 0) -> None:
        self._partitions = partitions
        self._generation = generation
        self._closed = threading.Event()
        self._link = _Link(url, "tidegate-history", self._closed)
        self._thread = ThreadPoolExecutor(1, "tidegate-history")
        self._durable = -1
        self._asked: Future[dict[str, int]] | None = None
        self._asked_at = 0.0
        self._marks: Marks = {}
        self._marks_asked: Future[dict[tuple[str, int], int]] | None = None
        self._marks_asked_at = 0.0

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


def _publish(publisher: Publisher, outcomes: Sequence[Outcome], standing: Standing) -> None:
    for outcome in outcomes:
        if outcome.decisions is not None:
            rows = stored(outcome.decisions)
            if standing:
                rows = (standing.get((row.transaction_id, row.event_time), row) for row in rows)
            publisher.publish(rows, outcome.envelope)
        if outcome.repeated is not None:
            _publish_repeated(publisher, outcome.repeated, standing)
        if outcome.dead is not None:
            publisher.bury(outcome.dead)


def _publish_repeated(publisher: Publisher, repeated: Repeated, standing: Standing) -> None:
    places = list(zip(repeated.transaction_id, repeated.event_time.tolist(), strict=True))
    # One that is not there any more was deleted, being too old.
    there = np.array([place in standing for place in places], np.bool_)
    envelope = None if repeated.envelope is None else repeated.envelope.take(there)
    publisher.publish([standing[place] for place in places if place in standing], envelope)


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

"""Stores outcomes in the database, and then publishes what stands; never in the way of a step.

One thread works behind a bounded queue. While the database is away it keeps trying; the queue fills
and the sources wait.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from dataflows.messages import Outcome, Repeated
from dataflows.publisher import Publisher
from dataflows.traces import Batch, Traces
from dataflows.transaction import store, versions_used
from tidegate import metrics, tracing
from tidegate.kafka.outgoing import Stored, stored
from tidegate.link import Link
from tidegate.schema import Decision
from tidegate.store import decisions, progress
from tidegate.store.connection import Conn

MOST_QUEUED = 32_768  # rows that may wait for the writer; beyond, the sink blocks
_MOST_AT_ONCE = 16_384  # rows of one transaction

Standing = Mapping[tuple[str, int], Stored]  # by id and event time


class DatabaseWriter:
    """Stores outcomes in order, as many as are waiting in one transaction, and then publishes
    what stands; fenced by generation.

    publisher: None where there is no Kafka to publish to. tells: whether somebody may wait for a
    decision at the database. on_stored is called from the writer's thread with the outcomes of
    every commit.
    """

    def __init__(
        self,
        url: str,
        generation: int,
        on_stored: Callable[[Sequence[Outcome]], None] = lambda outcomes: None,
        publisher: Publisher | None = None,
        *,
        tells: bool = False,
    ) -> None:
        self._generation = generation
        self._publisher = publisher
        self._tells = tells
        self._on_stored = on_stored
        self._traces = Traces(generation)
        self._closed = threading.Event()
        self._link = Link(url, "tidegate-sink", self._closed)
        self._begin = Link(url, "tidegate-sink", self._closed)
        self._changed = threading.Condition()
        self._queue: deque[tuple[str, Outcome]] = deque()
        self._queued_rows = 0
        self._last: dict[str, int] = {}  # the last step taken for each partition
        self._taken = 0  # outcomes so far
        self._done = 0  # of them, those that are stored and handed to the publisher
        self._used: dict[str, int] = {}  # what the last transaction noted of versions' use
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
            if self._queued_rows >= MOST_QUEUED:
                began = time.monotonic()
                self._changed.wait_for(lambda: self._queued_rows < MOST_QUEUED or self._failure)
                metrics.BACK_PRESSURE_SECONDS.inc(time.monotonic() - began)
            self._raise_failure()
            for outcome in outcomes:
                self._queue.append((partition, outcome))
                self._queued_rows += _rows(outcome)
                # A challenger's metrics may come after the champion's of a later step.
                self._last[partition] = max(outcome.number, self._last[partition])
            self._taken += len(outcomes)
            metrics.WRITER_QUEUED_ROWS.set(self._queued_rows)
            self._changed.notify_all()

    def settle(self, partition: str) -> int:
        """Waits until everything taken so far is durable, and acknowledged where it is published;
        gives the partition's last step."""
        self._drain()
        if self._publisher is not None:
            self._publisher.flush()
            # What Kafka refused becomes dead letters, which are to be durable as well.
            while (refused := self._publisher.refused()) is not None:
                self.write(partition, [Outcome(self._last[partition], dead=refused)])
                self._drain()
                self._publisher.flush()
        return self._last[partition]

    def _drain(self) -> None:
        with self._changed:
            taken = self._taken
            self._changed.wait_for(lambda: self._done >= taken or self._failure)
            self._raise_failure()

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
                outcomes = [outcome for _, outcome in taken]
                with self._traces.batch(outcomes) as batch:
                    with tracing.span("store"):
                        inserted = self._link.attempt(partial(self._store, taken))
                        standing = self._standing(outcomes, inserted)
                    self._used = versions_used(outcomes)
                    self._on_stored(outcomes)
                    if self._publisher is not None:
                        with tracing.span("publish"):
                            _publish(self._publisher, outcomes, standing, batch)
                with self._changed:
                    self._queued_rows -= sum(map(_rows, outcomes))
                    self._done += len(outcomes)
                    metrics.WRITER_QUEUED_ROWS.set(self._queued_rows)
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

    def _store(self, taken: Sequence[tuple[str, Outcome]], conn: Conn) -> int:
        return store(conn, self._generation, taken, noted=self._used, tells=self._tells)

    def _standing(self, outcomes: Sequence[Outcome], inserted: int) -> Standing:
        """The decisions that stand in place of the outcomes', and those of repeats, where there is
        somebody to tell. Decisions never change, so they are asked for after the commit."""
        if self._publisher is None:
            return {}
        parts = [o.decisions for o in outcomes if o.decisions is not None]
        asked = [(o.repeated.transaction_id, o.repeated.event_time) for o in outcomes if o.repeated]
        if inserted < sum(map(len, parts)):
            # Something was decided before, in this transaction or in an earlier life.
            asked += [(part.batch.transaction_id, part.batch.event_time) for part in parts]
        ids = [name for names, _ in asked for name in names.tolist()]
        if not ids:
            return {}
        times = [at for _, times in asked for at in times.tolist()]
        rows = self._link.work(lambda conn: decisions.standing(conn, ids, times))
        return {place: Stored(*row) for place, row in rows.items()}


def _publish(
    publisher: Publisher, outcomes: Sequence[Outcome], standing: Standing, batch: Batch
) -> None:
    for place, outcome in enumerate(outcomes):
        if outcome.decisions is not None:
            rows = stored(outcome.decisions)
            if standing:
                rows = (standing.get((row.transaction_id, row.event_time), row) for row in rows)
            publisher.publish(rows, batch.envelope(place, outcome.envelope))
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

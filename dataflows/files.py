"""The source of a run from files: transactions, labels and maturities in one stream of event time.

Event time is cut into ticks. Before the payments of a tick, everything that became known up to its
start is handed out for learning, and nothing else ever is; so a run is the same whenever and
however often it is interrupted, on any number of workers, and as fast as it likes. Feedback needs
the features that were served, so the source waits until the steps that served them are durable.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from dataflows.feedback import LabelBook, examples
from dataflows.flight import NEVER, Flight, Waiting, answer
from dataflows.messages import Origin, Step, no_rows, nothing_served, order_of
from dataflows.noting import noting
from dataflows.sealed import seal, unseal
from dataflows.store import History
from tidegate.readers import Chunk, TransactionFile
from tidegate.schema import HOUR, Batch, DeadLetters, Examples, Ints, Labels, Served, nothing

TICK = HOUR  # microseconds of event time
MOST_ROWS = 8192  # rows of one step

PART = "files"
_KIND, _VERSION = "place", 1
_LONG_AGO = -(2**62)  # an event time before all others


class OtherFile(ValueError):
    """The recovery store was made with other input."""


@dataclass(frozen=True)
class Input:
    """What a run from files reads. With `drain`, it goes on after the last payment until the last
    label is known. dead_labels: the label file's bad rows, stored at the start. pace: rows a second
    to hold the stream back to, 0 for none."""

    transactions: tuple[TransactionFile, ...]
    labels: LabelBook
    dead_labels: DeadLetters | None
    maturity: int  # microseconds
    drain: bool = True
    pace: float = 0.0

    @property
    def fingerprint(self) -> str:
        """What a recovery store remembers of its input."""
        files = ", ".join(
            f"{f.path.name} ({f.path.stat().st_size} bytes)" for f in self.transactions
        )
        return f"{files}; {len(self.labels)} labels"


@dataclass
class _Place:
    """How far the source has come; its snapshot."""

    fingerprint: str
    number: int = 0  # of the next step
    file: int = 0
    chunk: int = 0  # first record of the chunk that is being read
    row: int = 0  # rows of that chunk handed out, in order of event time
    tick: int | None = None  # the last one handed out
    label: int = 0  # labels known so far
    waiting: set[int] = field(default_factory=set)  # labels that came before their payments
    due: set[int] = field(default_factory=set)  # those of them whose payments have come since


class FileSource(FixedPartitionedSource[Step, bytes]):
    """Reads the input as one partition. `stop` ends it early, as if there were no more."""

    def __init__(self, given: Input, history: History, stop: threading.Event) -> None:
        self._given = given
        self._history = history
        self._stop = stop

    def list_parts(self) -> list[str]:
        """There is one."""
        return [PART]

    @noting
    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> StatefulSourcePartition[Step, bytes]:
        """Reads from the start, or from where a snapshot was taken."""
        fingerprint = self._given.fingerprint
        if resume_state is None:
            place = _Place(fingerprint)
        else:
            place = unseal(_KIND, _VERSION, resume_state, _Place)
            if place.fingerprint != fingerprint:
                raise OtherFile(
                    f"the recovery store was made with {place.fingerprint}, and this is "
                    f"{fingerprint}: give the same files, or another TIDEGATE_RECOVERY_DIR"
                )
        return _Partition(self._given, self._history, self._stop, place)


def next_number(state: bytes) -> int:
    """The number of the next step, by a snapshot of the source. Raises BadState."""
    return unseal(_KIND, _VERSION, state, _Place).number


class _Partition(StatefulSourcePartition[Step, bytes]):
    def __init__(
        self, given: Input, history: History, stop: threading.Event, place: _Place
    ) -> None:
        self._given = given
        self._history = history
        self._stop = stop
        self._place = place
        self._flight = Flight(history, given.pace)
        self._ahead: tuple[tuple[int, int], Future[Served]] | None = None
        self._least_sent = NEVER  # event time, since the question ahead was asked
        self._stream = self._steps()

    @noting
    def next_batch(self) -> list[Step]:
        if self._stop.is_set():
            raise StopIteration
        step = next(self._stream)  # its StopIteration is ours
        return [] if step is None else [step]

    def snapshot(self) -> bytes:
        return seal(_KIND, _VERSION, self._place)

    def _steps(self) -> Generator[Step | None, None, None]:
        place = self._place
        dead = self._given.dead_labels if place.number == 0 else None
        if dead is not None and len(dead):
            # Nothing is known before the first payment, so its time does not matter.
            yield self._send(0, no_rows(), None, None, None, dead)
        for file, chunk in self._chunks():
            order = order_of(chunk.rows.event_time, chunk.rows.transaction_id.tolist())
            batch, index = chunk.rows.take(order), chunk.index[order]
            ticks = np.maximum.accumulate(batch.event_time // TICK)
            if place.tick is not None:  # a late row belongs to the tick in which it came
                ticks = np.maximum(ticks, place.tick)
            dead = chunk.dead if len(chunk.dead) and place.row == 0 else None
            start = place.row
            while start < len(batch):
                tick = int(ticks[start])
                end = min(start + MOST_ROWS, int(np.searchsorted(ticks, tick, side="right")))
                known, labels = None, None
                label, due = place.label, place.due
                if tick != place.tick:
                    known, labels, label = yield from self._feedback(tick * TICK)
                    due = set()
                yield from self._flight.room()
                rows = slice(start, end)
                piece = batch.take(np.arange(start, end))
                origin = _origin(file, index[rows])
                place.tick, place.label, place.due, place.row = tick, label, due, end
                self._match(piece)
                yield self._send(tick * TICK, piece, origin, known, labels, dead)
                start, dead = end, None
            if dead is not None:  # a chunk of nothing but bad rows
                place.row = 1
                now = 0 if place.tick is None else place.tick * TICK
                yield self._send(now, no_rows(), None, None, None, dead)
            place.chunk, place.row = chunk.start + chunk.records, 0
        if self._given.drain and place.tick is not None:
            yield from self._drain()

    def _chunks(self) -> Iterable[tuple[TransactionFile, Chunk]]:
        place = self._place
        while place.file < len(self._given.transactions):
            file = self._given.transactions[place.file]
            for chunk in file.chunks(place.chunk):
                yield file, chunk
            place.file, place.chunk, place.row = place.file + 1, 0, 0

    def _drain(self) -> Generator[Step | None, None, None]:
        """The ticks after the last payment, as far as labels go."""
        place, book = self._place, self._given.labels
        while place.label < len(book) or place.due:
            now = (place.tick + 1) * TICK if place.tick is not None else 0
            if place.label < len(book):
                now = max(now, -(-int(book.labels.labelled_at[place.label]) // TICK) * TICK)
            known, labels, label = yield from self._feedback(now)
            yield from self._flight.room()
            place.tick, place.label, place.due = now // TICK, label, set()
            yield self._send(now, no_rows(), None, known, labels, None)

    def _feedback(self, now: int) -> Waiting[tuple[Examples, Labels | None, int]]:
        """What became known since the last tick and up to `now`: examples, the labels to store,
        and how many labels are known."""
        place, given = self._place, self._given
        after = _LONG_AGO if place.tick is None else place.tick * TICK
        matured = nothing_served()
        if place.tick is not None:
            found = yield from self._between(after - given.maturity, now - given.maturity)
            matured = _decided_before(found, now)
        end = given.labels.until(place.label, now)
        rows = np.array([*sorted(place.due), *range(place.label, end)], np.int64)
        labelled, rows = yield from self._payments(rows, matured, now)
        known = examples(
            given.labels, rows, labelled, matured, now=now, mature=after - given.maturity
        )
        fresh = given.labels.labels.take(np.arange(place.label, end))
        return known, fresh if len(fresh) else None, end

    def _between(self, after: int, until: int) -> Waiting[Served]:
        """The payments of a stretch of event time, all of which are durable by then.

        The next stretch is asked for at once, as it is mostly there already; the answer is used
        only if nothing that belongs to it has been sent since."""
        span, asked = self._ahead or (None, None)
        if asked is None or span != (after, until) or self._least_sent <= until:
            yield from self._flight.durable_to(until)
            asked = self._history.between(after, until)
        found = yield from answer(asked)
        self._ahead, self._least_sent = None, NEVER
        following = until + TICK
        if not self._flight.has(following):
            asked = self._history.between(until, following)
            self._ahead = ((until, following), asked)
        return found

    def _payments(self, rows: Ints, matured: Served, now: int) -> Waiting[tuple[Served, Ints]]:
        """The payments of these labels, and the labels whose payments were scored before `now`;
        the others wait until their payments come."""
        names = self._given.labels.labels.transaction_id[rows].tolist()
        wanted = set(names)
        here = matured.take(np.array([n in wanted for n in matured.transaction_id], np.bool_))
        missing = sorted(wanted.difference(here.transaction_id.tolist()))
        found = [here] if len(here) else []
        if missing:
            # Only when all that was sent is durable does an absent row say that it never came.
            yield from self._flight.durable(self._place.number - 1)
            more = yield from answer(self._history.by_ids(missing, now))
            if len(more):
                found.append(more)
        payments = Served.concat(found) if found else nothing_served()
        known = set(payments.transaction_id.tolist())
        there = np.array([name in known for name in names], np.bool_)
        self._place.waiting.update(rows[~there].tolist())
        return payments, rows[there]

    def _match(self, batch: Batch) -> None:
        """Labels that waited for one of these payments are due at the next tick."""
        waiting = self._place.waiting
        if not waiting:
            return
        names = self._given.labels.labels.transaction_id
        here = set(batch.transaction_id.tolist())
        came = {row for row in waiting if names[row] in here}
        self._place.waiting = waiting - came
        self._place.due = self._place.due | came

    def _send(
        self,
        now: int,
        batch: Batch,
        origin: Origin | None,
        known: Examples | None,
        labels: Labels | None,
        dead: DeadLetters | None,
    ) -> Step:
        place = self._place
        number = place.number
        place.number += 1
        least = int(batch.event_time.min()) if len(batch) else NEVER
        self._least_sent = min(self._least_sent, least)
        self._flight.sent(number, len(batch), least)
        return Step(
            number,
            now,
            time.time(),
            batch,
            origin or _nowhere(),
            known,
            labels,
            dead,
            serving=self._history.serving(),
        )


def _decided_before(served: Served, now: int) -> Served:
    """After a crash the database may know payments that this stream has yet to come to."""
    return served.take(served.stream_time < now)


def _origin(file: TransactionFile, records: Ints) -> Origin:
    count = len(records)
    return Origin(
        np.full(count, file.path.name, object),
        np.zeros(count, np.int64),
        records,
        np.full(count, _modified(file.path), np.int64),
    )


@cache
def _modified(path: Path) -> int:
    """When the file was written last, microseconds since the epoch."""
    return path.stat().st_mtime_ns // 1000


def _nowhere() -> Origin:
    none = np.zeros(0, np.int64)
    return Origin(nothing(0), none, none, none)


def open_files(paths: Iterable[Path], currency: str | None) -> tuple[TransactionFile, ...]:
    """The files in the order of their first payments. One is read after the other, so where two
    overlap in time, the payments of the second are late. Raises `readers.UnreadableFile`."""
    files = [TransactionFile(path, currency=currency) for path in paths]
    return tuple(sorted(files, key=_first_time) if len(files) > 1 else files)


def _first_time(file: TransactionFile) -> int:
    for chunk in file.chunks():
        if len(chunk.rows):
            return int(chunk.rows.event_time.min())
    return NEVER

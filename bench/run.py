"""The whole flow into PostgreSQL: one and two workers, beside the same flow in memory.

Why: durability is what a run adds to an evaluation. Every decision is stored before anything is
learned from it, state is snapshotted, and a run that is stopped goes on where it was; this says
what that costs in rows, in bytes and in time to resume. With two workers the steps exchange rows
between processes; on a machine with two cores the database takes part of both.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter

import psycopg

from bench import database
from bench.given import Given
from bench.history import DELAY_DAYS, an_hour
from bench.report import Report, figure
from bench.rounds import in_turn, times
from dataflows.evaluate import evaluate
from dataflows.messages import Outcome
from dataflows.runner import Run, RunFailed
from dataflows.runner import run as run_flow

_ROUNDS = 3
_ONE, _TWO, _MEMORY = "one worker", "two workers", "the same in memory"

MEASURE = """
SELECT
    count(*),
    extract(epoch FROM max(scored_at) - min(scored_at))::float8,
    pg_total_relation_size('score'),
    pg_indexes_size('score')
FROM score
"""


@dataclass(frozen=True)
class Ran:
    """A whole run: rows a second from its first decision to its last and from start to end, bytes
    a decision, and seconds to the first decision."""

    rate: float
    whole: float
    table: float = 0.0
    indexes: float = 0.0
    recovery: float = 0.0
    first: float = 0.0


@dataclass
class Watch:
    """Sees what one worker stores: when the first decisions came, and when to stop."""

    stop_at: int | None = None
    began: float = field(default_factory=perf_counter)
    first: float = 0.0
    rows: int = 0

    def __call__(self, outcomes: Sequence[Outcome]) -> None:
        self.rows += sum(len(o.decisions) for o in outcomes if o.decisions is not None)
        if self.rows and not self.first:
            self.first = perf_counter() - self.began
        if self.stop_at is not None and self.rows >= self.stop_at:
            self.stop_at = None
            os.kill(os.getpid(), signal.SIGTERM)  # as a supervisor would


def bench(given: Given) -> Report:
    """Rows a second, bytes a decision, and seconds to resume."""
    rounds = given.rounds(_ROUNDS)
    history = given.history(given.size(60_000, 10_000))
    rows = len(history.batch)
    with database.server() as server, tempfile.TemporaryDirectory(dir=given.directory) as kept:
        files = history.write(Path(kept))
        labelled = history.write_labelled(Path(kept))
        contenders: dict[str, Callable[[], Ran]] = {
            _MEMORY: partial(_in_memory, labelled),
            _ONE: partial(_stored, server, files, rows, 1),
            _TWO: partial(_stored, server, files, rows, 2),
        }
        found = in_turn(contenders, rounds)
        resumed = [_resumed(server, files, rows) for _ in range(rounds)]
    one, two = found[_ONE], found[_TWO]
    rates = {name: [ran.rate for ran in runs] for name, runs in found.items()}
    unit = "rows a second"
    figures = [
        figure(_ONE, rates[_ONE], unit, times(rates[_ONE], rates[_MEMORY]), _MEMORY),
        figure(_TWO, rates[_TWO], unit, times(rates[_TWO], rates[_ONE]), _ONE),
        figure(_MEMORY, rates[_MEMORY], unit),
        figure(f"{_ONE}, from start to end", [ran.whole for ran in one], unit),
        figure(f"{_TWO}, from start to end", [ran.whole for ran in two], unit),
        figure("score, with its indexes", [ran.table for ran in one], "bytes a decision"),
        figure("indexes of score", [ran.indexes for ran in one], "bytes a decision"),
        figure("recovery store", [ran.recovery for ran in one], "bytes a decision"),
        figure("fresh start to first decision", [ran.first for ran in one], "s"),
        figure(
            "resumed halfway to first decision",
            resumed,
            "s",
            times(resumed, [ran.first for ran in one]),
            "fresh start to first decision",
        ),
    ]
    notes = [
        f"{rows:,} rows, {an_hour(history.batch.event_time):.0f} an hour of event time; every hour "
        "waits until what it learns from is stored, so a denser stream is faster",
        "rows a second are those between the first decision and the last; from start to end counts "
        "start-up and the labels that come after",
        "the recovery store holds profiles and models, so its bytes a decision fall with time",
    ]
    return Report("run", rows, rounds, figures, notes)


def _in_memory(path: Path) -> Ran:
    begin = perf_counter()
    scored = evaluate([path], delay_days=DELAY_DAYS)
    rate = len(scored.score) / (perf_counter() - begin)
    return Ran(rate, rate)


def _stored(server: str, files: tuple[Path, Path], rows: int, workers: int) -> Ran:
    with database.fresh(server) as url, tempfile.TemporaryDirectory() as kept:
        run = _a_run(url, kept, files, workers)
        watch = Watch()
        _to_the_end(run, watch)
        seconds = perf_counter() - watch.began
        with psycopg.connect(url) as conn:
            count, span, table, indexes = conn.execute(MEASURE).fetchone() or (0, 0.0, 0, 0)
        if count != rows:
            raise RunFailed(f"{count} of {rows} payments were stored")
        store = sum(path.stat().st_size for path in Path(run.recovery_dir).iterdir())
        return Ran(
            rows / span, rows / seconds, table / rows, indexes / rows, store / rows, watch.first
        )


def _resumed(server: str, files: tuple[Path, Path], rows: int) -> float:
    """Seconds to the first new decision of a run that was stopped halfway."""
    with database.fresh(server) as url, tempfile.TemporaryDirectory() as kept:
        run = _a_run(url, kept, files, 1)
        with _own_signals():
            half = Watch(stop_at=rows // 2)
            run_flow(run, half)
            if half.stop_at is not None:  # somebody else stopped it
                raise KeyboardInterrupt
            watch = Watch(stop_at=1)
            run_flow(run, watch)
        return watch.first


def _a_run(url: str, kept: str, files: tuple[Path, Path], workers: int) -> Run:
    transactions, labels = map(str, files)
    recovery = str(Path(kept) / "recovery")
    return Run(url, recovery, (transactions,), labels, workers=workers, maturity_days=DELAY_DAYS)


def _to_the_end(run: Run, watch: Watch) -> None:
    with _own_signals():
        if not run_flow(run, watch):
            raise KeyboardInterrupt


@contextmanager
def _own_signals() -> Iterator[None]:
    """A run takes signals for itself; afterwards they are ours again."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

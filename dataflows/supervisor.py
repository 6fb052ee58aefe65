"""Worker processes as one cluster: started together, ended together, and started again together.

A dead process takes its whole cluster along (the others lose what it was about to send them and
panic), so there is nothing to save of one: all resume from the last snapshot.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dataflows.processes import SILENCE, WORKER, Job, Process, stop_on_signals

log = logging.getLogger(__name__)

LOST = 256  # in place of an exit code, of a worker elsewhere that is not heard of any more


class RunFailed(RuntimeError):
    """The flow could not start or go on; the message says why in one line."""


class Worker(Protocol):
    """A worker of a cluster, wherever it runs: as `processes.Process` is."""

    name: str

    def poll(self) -> int | None:
        """How it ended, None while it runs."""

    def end(self, *, at_once: bool = False) -> None:
        """Tells it to end: with a last snapshot, or at once."""

    def reason(self) -> str | None:
        """What it told of a failure that a restart does not mend, once it has ended."""

    def close(self) -> None:
        """Ends it if it still runs."""


class Crew(Protocol):
    """Who works."""

    def start(self, job: Job) -> Sequence[Worker]:
        """A life of the cluster: each worker gets the job, its `index`, the cluster's `addresses`
        (none when it is alone) and its `place` among those of its machine besides."""

    def differs(self) -> bool:
        """Whether others should work than were started last."""


class OneMachine:
    """So many processes on this machine. command: what each runs. patience: seconds of silence
    after which one hangs."""

    def __init__(
        self, workers: int, command: Sequence[str] = WORKER, patience: float = SILENCE
    ) -> None:
        self._number = workers
        self._command = command
        self._patience = patience

    def start(self, job: Job) -> Sequence[Worker]:
        """All of them, at free ports of the loopback interface."""
        ports = _free_ports(self._number) if self._number > 1 else []
        addresses = [f"127.0.0.1:{port}" for port in ports]
        started: list[Worker] = []
        try:
            for index in range(self._number):
                own = {"index": index, "place": index, "addresses": addresses}
                process = Process(self._command, self._patience)
                started.append(process)
                process.give(job | own)
        except BaseException:
            close(started)
            raise
        return started

    def differs(self) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class Limits:
    """How a supervisor goes about failures; in seconds, but for the number of failures."""

    ending: float = 5.0  # that the other workers get to end after one has died
    first_wait: float = 0.5  # before the cluster starts again; doubles with each failure in a row
    longest_wait: float = 30.0
    short_life: float = 20.0  # a cluster that ran longer had started well: the count begins anew
    most_failures: int = 8  # in a row, of clusters with a short life


@dataclass(frozen=True)
class _End:
    """How a cluster ended. died: how the first worker that failed did, if one did. reason: what a
    worker told of a failure that no restart mends. stopped: we were told to end. changed: others
    are to work from now on."""

    died: str | None
    reason: str | None
    stopped: bool
    changed: bool


def supervise(
    crew: Crew,
    job_of: Callable[[], Job],
    *,
    passing: tuple[type[Exception], ...] = (),
    failing: tuple[type[Exception], ...] = (),
    hint: Callable[[], str | None] = lambda: None,
    limits: Limits = Limits(),
) -> bool:
    """Runs the crew until its workers end by themselves or SIGTERM or SIGINT comes, which is
    passed on to them; says whether they ended by themselves. When others are to work, those that
    do end with a snapshot, and the others go on from there.

    job_of is called at each start and gives what all workers are told, as plain values. What it
    raises ends the run; but at a restart, after `passing` it is asked again for as long as it
    takes, and `failing` counts as if a worker had died. hint may say in a few words what is known
    of the cause when one did.

    Raises RunFailed when a worker names a reason for good, or when clusters keep dying soon after
    their start.
    """
    stop = stop_on_signals()
    failures = tries = lives = 0
    while True:
        began = time.monotonic()
        try:
            job = job_of()
            tries, lives, began = 0, lives + 1, time.monotonic()
        except passing as error:
            if not lives:
                raise
            tries += 1
            _wait(stop, limits, tries, " ".join(str(error).split()))
            continue
        except failing as error:
            if not lives:
                raise
            died = " ".join(str(error).split())
        else:
            end = _run(crew, job, stop, limits)
            if end.reason is not None:
                raise RunFailed(end.reason)
            if end.died is None:
                if end.changed and not end.stopped:
                    continue
                return not end.stopped
            died = "; ".join(filter(None, [end.died, hint()]))
            if end.stopped:
                raise RunFailed(f"{died}, as it was to stop; start again to resume")
        failures = failures + 1 if time.monotonic() - began <= limits.short_life else 1
        if failures >= limits.most_failures:
            raise RunFailed(
                f"the workers failed {failures} times in a row within {limits.short_life:g} s of "
                f"their start; the last time {died}; start again to resume"
            )
        _wait(stop, limits, failures, died)


def _wait(stop: threading.Event, limits: Limits, failures: int, why: str) -> None:
    pause = min(limits.first_wait * 2.0 ** min(failures - 1, 20), limits.longest_wait)
    log.warning("%s: all workers start again in %g s", why, pause)
    if stop.wait(pause):
        raise RunFailed(f"{why}; stopped before the workers had started again")


def _run(crew: Crew, job: Job, stop: threading.Event, limits: Limits) -> _End:
    """One life of the cluster."""
    workers = crew.start(job)
    try:
        died, stopped, changed = _watch(workers, crew, stop, limits)
        reasons = [reason for worker in workers if (reason := worker.reason())]
        return _End(died, reasons[0] if reasons else None, stopped, changed)
    finally:
        close(workers)


def close(workers: Sequence[Worker]) -> None:
    """Ends those that still run."""
    for worker in workers:
        worker.close()


def _watch(
    workers: Sequence[Worker], crew: Crew, stop: threading.Event, limits: Limits
) -> tuple[str | None, bool, bool]:
    """Waits until all have ended, and sees to it that they do once one has died. Says how the
    first that did died, and whether they were told to end, for good or so that others work."""
    stopped = changed = False
    died: str | None = None
    failed_at = 0.0
    while any(worker.poll() is None for worker in workers):
        time.sleep(0.05)
        if stop.is_set() and not stopped:
            stopped = True
            _end(workers)
        elif not stopped and not changed and died is None and crew.differs():
            changed = True
            log.info("others are to work from now on: all workers end with a snapshot")
            _end(workers)
        if died is None:
            died = _died(workers)
            if died is not None:
                failed_at = time.monotonic()
                _end(workers)
        elif time.monotonic() - failed_at > limits.ending:
            _end(workers, at_once=True)
    return died or _died(workers), stopped, changed


def _died(workers: Sequence[Worker]) -> str | None:
    """How one that failed did; a killed one rather than one that may have panicked for its sake."""
    codes = [(worker.name, code) for worker in workers if (code := worker.poll())]
    if not codes:
        return None
    name, code = min(codes, key=lambda found: found[1] > 0)
    if code == LOST:
        return f"{name} is not heard of any more"
    how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
    return f"{name} ended with {how}"


def _end(workers: Sequence[Worker], *, at_once: bool = False) -> None:
    for worker in workers:
        worker.end(at_once=at_once)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for some in sockets:
            some.bind(("127.0.0.1", 0))
        return [some.getsockname()[1] for some in sockets]
    finally:
        for some in sockets:
            some.close()

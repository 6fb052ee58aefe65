"""Worker processes as one cluster: started together, ended together, and started again together.

A dead process takes its whole cluster along (the others lose what it was about to send them and
panic), so there is nothing to save of one: all resume from the last snapshot.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

KNOWN_FAILURE = 3  # exit code of a worker that cannot go on for a reason that it told

_STOPPING = (signal.SIGTERM, signal.SIGINT)

Job = dict[str, Any]

WORKER = (sys.executable, "-m", "dataflows.worker")


class RunFailed(RuntimeError):
    """The flow could not start or go on; the message says why in one line."""


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
    """How a cluster ended. first: the first worker that failed, if one did, with its exit code.
    reason: what a worker told of a failure that no restart mends. stopped: we told them to end."""

    first: tuple[int, int] | None
    reason: str | None
    stopped: bool


def supervise(
    workers: int,
    job_of: Callable[[], Job],
    *,
    passing: tuple[type[Exception], ...] = (),
    failing: tuple[type[Exception], ...] = (),
    hint: Callable[[], str | None] = lambda: None,
    limits: Limits = Limits(),
    command: Sequence[str] = WORKER,
) -> bool:
    """Runs `workers` processes until they end by themselves or SIGTERM or SIGINT comes, which is
    passed on to them; says whether they ended by themselves.

    job_of is called at each start and gives what all workers are told, as plain values; each gets
    its `index` and the cluster's `addresses` besides (none when it is alone). What it raises ends
    the run; but at a restart, after `passing` it is asked again for as long as it takes, and
    `failing` counts as if a worker had died. hint may say in a few words what is known of the
    cause when one did. command: what a worker process runs; the first line of its standard input
    is its job as JSON.

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
            end = _run(command, workers, job, stop, limits)
            if end.reason is not None:
                raise RunFailed(end.reason)
            if end.first is None:
                return not end.stopped
            died = "; ".join(filter(None, [_described(*end.first), hint()]))
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


def _described(index: int, code: int) -> str:
    how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
    return f"worker {index} ended with {how}"


class _Worker:
    """A worker process, its job given."""

    def __init__(self, command: Sequence[str], job: Job) -> None:
        ours, theirs = os.pipe()
        self._reason = os.fdopen(ours)
        try:
            with _signals_wait():
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=2,  # Bytewax speaks of its links there, and ours is for results
                    pass_fds=[theirs],
                    text=True,
                )
        finally:
            os.close(theirs)
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # one that is dead already will be found so
            self.process.stdin.write(json.dumps(job | {"reason": theirs}) + "\n")
            self.process.stdin.flush()  # and stays open: its end says that the supervisor is gone

    def reason(self) -> str | None:
        """What it told of a failure that a restart does not mend, once it has ended. What was told
        counts however it ended then: killed with the others, or aborted on its way out."""
        told = self._reason.read()
        if not told and self.process.returncode == KNOWN_FAILURE:
            return "a worker cannot go on; see its messages above"
        return told or None

    def close(self) -> None:
        """Ends it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reason.close()
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()


def _run(
    command: Sequence[str], number: int, job: Job, stop: threading.Event, limits: Limits
) -> _End:
    """One life of the cluster."""
    ports = _free_ports(number) if number > 1 else []
    addresses = [f"127.0.0.1:{port}" for port in ports]
    workers: list[_Worker] = []
    try:
        for index in range(number):
            workers.append(_Worker(command, job | {"index": index, "addresses": addresses}))
        first, stopped = _watch([worker.process for worker in workers], stop, limits)
        reasons = [reason for worker in workers if (reason := worker.reason())]
        return _End(first, reasons[0] if reasons else None, stopped)
    finally:
        for worker in workers:
            worker.close()


def _watch(
    processes: Sequence[subprocess.Popen[str]], stop: threading.Event, limits: Limits
) -> tuple[tuple[int, int] | None, bool]:
    """Waits until all have ended, and sees to it that they do once one has died. Gives the first
    that died, with its code, and whether they were told to stop."""
    stopped = False
    first: tuple[int, int] | None = None
    failed_at = 0.0
    while any(process.poll() is None for process in processes):
        if stop.wait(0.05) and not stopped:
            stopped = True
            _signal(processes, signal.SIGTERM)
        if first is None:
            first = _failed(processes)
            if first is not None:
                failed_at = time.monotonic()
                _signal(processes, signal.SIGTERM)
        elif time.monotonic() - failed_at > limits.ending:
            _signal(processes, signal.SIGKILL)
    return first or _failed(processes), stopped


def _failed(processes: Sequence[subprocess.Popen[str]]) -> tuple[int, int] | None:
    """A process that failed; a killed one rather than one that may have panicked for its sake."""
    codes = [(index, code) for index, p in enumerate(processes) if (code := p.poll())]
    return min(codes, key=lambda found: found[1] > 0, default=None)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set from now on; never set outside of the main thread."""
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in _STOPPING:
            signal.signal(number, lambda *_: stop.set())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    return stop


def watch_parent(lines: Any) -> None:
    """Ends this process at once when its standard input does, that is, when the supervisor is
    gone, however it went."""

    def wait() -> None:
        lines.read()
        os._exit(70)

    threading.Thread(target=wait, name="tidegate-parent", daemon=True).start()


def tell(reason: str, job: Job) -> bool:
    """Tells the supervisor why this worker fails for good; says whether it could be told."""
    try:
        os.write(job["reason"], reason.encode())
    except OSError:
        return False
    return True


@contextmanager
def _signals_wait() -> Iterator[None]:
    """A process that is started here gets signals only once it can end well (`stop_on_signals`):
    one that comes while it still imports would end it at once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal(processes: Sequence[subprocess.Popen[str]], number: int) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for some in sockets:
            some.bind(("127.0.0.1", 0))
        return [some.getsockname()[1] for some in sockets]
    finally:
        for some in sockets:
            some.close()

"""One worker process, seen from both of its ends: how it is started, told its job, heard and ended
when it hangs."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from dataflows.pulse import Listener

log = logging.getLogger(__name__)

KNOWN_FAILURE = 3  # exit code of a worker that cannot go on for a reason that it told

WORKER = (sys.executable, "-m", "dataflows.worker")

SILENCE = 60.0  # seconds without a sign of life after which a worker hangs
TRACES = signal.SIGUSR1  # on which a worker says where each of its threads is
_LAST_WORDS = 2.0  # seconds that it gets for that
CALM = 5.0  # seconds from a start to the preparation of the next one

_STOPPING = (signal.SIGTERM, signal.SIGINT)

Job = dict[str, Any]


class Process:
    """A worker process on this machine.

    command: what it runs. The first line of its standard input is its job as JSON (`give`). From
    then on it gives signs of life (`dataflows.pulse`); one that is silent for `patience` seconds is
    ended.
    """

    def __init__(self, command: Sequence[str], patience: float = SILENCE) -> None:
        self.name = "a worker without a job"
        self._patience = patience
        self._asked = False  # where it hangs
        ours, self._theirs = os.pipe()
        self._listener = Listener(ours)
        try:
            with _signals_wait():
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=2,  # Bytewax speaks of its links there, and ours is for results
                    pass_fds=[self._theirs],
                    text=True,
                )
        finally:
            os.close(self._theirs)

    def give(self, job: Job) -> None:
        """Its job, once."""
        self.name = f"worker {job['index']}"
        self._listener.begin()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # one that is dead already will be found so
            self._process.stdin.write(json.dumps(job | {"reason": self._theirs}) + "\n")
            self._process.stdin.flush()  # and stays open: its end says that the supervisor is gone

    def poll(self) -> int | None:
        """Its exit code, or the number of the signal that ended it below 0; None while it runs."""
        code = self._process.poll()
        if code is None:
            self._end_if_it_hangs()
        return code

    def end(self, *, at_once: bool = False) -> None:
        """Tells it to end: with a last snapshot, or at once."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)

    def reason(self) -> str | None:
        """What it told of a failure that a restart does not mend, once it has ended. What was told
        counts however it ended then: killed with the others, or aborted on its way out."""
        told = self._listener.told()
        if not told and self._process.returncode == KNOWN_FAILURE:
            return "a worker cannot go on; see its messages above"
        return told or None

    def close(self) -> None:
        """Ends it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._listener.close()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def _end_if_it_hangs(self) -> None:
        silent = self._listener.silent()
        hangs = silent > self._patience
        if hangs and not self._asked:
            what = "%s hangs: no sign of life for %g s; it is asked where it is, and ended"
            log.error(what, self.name, self._patience)
            self._process.send_signal(TRACES)
        self._asked = hangs
        if silent > self._patience + _LAST_WORDS:
            self._process.kill()


class Spare:
    """A worker process that has imported what it needs and waits for a job, so that a start need
    not wait for it.

    Where starts are changes that payments wait for, it is worth its memory. command: what each
    process runs. calm: seconds after a start, which has better use for the processor than the next.
    """

    def __init__(self, command: Sequence[str] = WORKER, calm: float = CALM) -> None:
        self._command = command
        self._calm = calm
        self._waiting: Process | None = None
        self._started_at = float("-inf")

    def prepare(self) -> None:
        """Sees to it that one waits, unless one was started just now; to be called all the time."""
        if self._waiting is None and time.monotonic() - self._started_at >= self._calm:
            self._waiting = Process(self._command)

    def start(self, job: Job) -> Process:
        """The one that waits, or a new one, with its job given."""
        process, self._waiting = self._waiting, None
        if process is not None and process.poll() is not None:
            process.close()
            process = None
        if process is None:
            process = Process(self._command)
        process.give(job)
        self._started_at = time.monotonic()
        return process

    def close(self) -> None:
        """Ends the one that waits."""
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None


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

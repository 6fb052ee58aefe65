"""A sign of life each second, from a worker to its supervisor, while the flow gets anywhere.

A process can live and do nothing more: a lock that nobody lets go of, foreign code that does not
come back and keeps the interpreter to itself, a stopped process. Its cluster would wait for it for
ever. Such a worker falls silent, and `dataflows.processes.Process` ends it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from dataflows.noting import busy
from tidegate.exporter import Check

LONGEST = 60.0  # seconds that one call of the flow may take while nothing that it needs is away

_BEAT = b"\0"
_EVERY = 1.0  # seconds between two of them
_LONGEST_LOOK = 1.0  # seconds that count between two looks


@contextmanager
def beating(
    pipe: int, checks: Mapping[str, Check], every: float = _EVERY, longest: float = LONGEST
) -> Iterator[None]:
    """Gives signs of life meanwhile, from a thread of its own, unless one call of the flow has
    taken longer than `longest` although nothing is away. pipe: what the supervisor listens at.
    checks: what may be away; more may come."""
    ended = threading.Event()

    def beat() -> None:
        try:
            while not ended.wait(every):
                if busy() < longest or any(check() for check in list(checks.values())):
                    os.write(pipe, _BEAT)
        except OSError:  # nobody listens any more; `processes.watch_parent` sees to it
            return

    thread = threading.Thread(target=beat, name="tidegate-pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Listener:
    """The supervisor's end of the pipe, over which a worker also tells why it fails for good."""

    def __init__(self, pipe: int, clock: Callable[[], float] = time.monotonic) -> None:
        os.set_blocking(pipe, False)
        self._pipe = pipe
        self._clock = clock
        self._looked = clock()
        self._silent = 0.0
        self._told = b""

    def begin(self) -> None:
        """What was silent until now does not count."""
        self._looked, self._silent = self._clock(), 0.0

    def silent(self) -> float:
        """Seconds without a sign of life. What counts is time in which somebody looked: after a
        stall of the whole machine everything would seem silent."""
        now = self._clock()
        self._silent += min(now - self._looked, _LONGEST_LOOK)
        self._looked = now
        if self._hear():
            self._silent = 0.0
        return self._silent

    def told(self) -> str:
        """What was told beside signs of life."""
        self._hear()
        return self._told.decode(errors="replace")

    def close(self) -> None:
        """Listens no more."""
        os.close(self._pipe)

    def _hear(self) -> bool:
        heard = False
        with suppress(BlockingIOError):
            while told := os.read(self._pipe, 65_536):
                heard = True
                self._told += told.replace(_BEAT, b"")
        return heard

"""Ends a worker when the machine's clock is set back.

Bytewax asks the wall clock whether a source or a step is to be called again. Set back by an hour,
it would call some of them in an hour only, and the run would stand still and not even end. Instead
the worker ends, and all start again from the last snapshot.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

SET_BACK = 71  # exit code of a worker that ends for this

_MOST = 1.0  # seconds that the clock may be set back by: so long the run stands still
_EVERY = 0.5  # seconds between two looks


def watch_clock(
    clock: Callable[[], float] = time.time,
    end: Callable[[int], object] = os._exit,
    every: float = _EVERY,
) -> None:
    """Looks at the clock from a thread of its own for as long as the process lives."""

    def watch() -> None:
        # Ahead of the clock that nobody sets; its own slow corrections are no matter.
        ahead = clock() - time.monotonic()
        never = threading.Event()
        while not never.wait(every):
            before, ahead = ahead, clock() - time.monotonic()
            if before - ahead > _MOST:
                log.error("the machine's clock was set back by %.1f s", before - ahead)
                end(SET_BACK)
                return

    threading.Thread(target=watch, name="tidegate-clock", daemon=True).start()

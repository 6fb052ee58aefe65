"""The totals, counted once for everybody who asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from tidegate.store.stats import Totals

# Counting takes at most one part in this many of the time, however large the tables grow.
SHARE = 10
SHORTEST = 1.0  # seconds that totals are kept at least


class Figures:
    """Keeps the last totals until counting them again is cheap enough.

    While one request counts, the others get the last totals; only the very first ones wait.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counting = Lock()
        self._last: Totals | None = None
        self._until = 0.0

    def get(self, count: Callable[[], Totals]) -> Totals:
        """The totals, counted by `count` where the last ones are too old. What `count` raises is
        raised, and the next request tries again."""
        last = self._last
        if last is not None and self._clock() < self._until:
            return last
        if not self._counting.acquire(blocking=last is None):
            assert last is not None
            return last
        try:
            if self._last is not None and self._clock() < self._until:
                return self._last  # counted while this request waited
            started = self._clock()
            totals = count()
            ended = self._clock()
            self._until = ended + max(SHORTEST, (ended - started) * (SHARE - 1))
            self._last = totals
            return totals
        finally:
            self._counting.release()

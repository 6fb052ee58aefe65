"""A worker ends when the machine's clock is set back; tests/faults sets it under a whole run."""

from __future__ import annotations

import threading
import time

from dataflows.clock import SET_BACK, watch_clock


def test_a_clock_that_is_set_back_ends_the_worker_and_one_that_is_set_ahead_does_not() -> None:
    off = 0.0
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    watch_clock(lambda: time.time() + off, end, every=0.01)
    off = 3600.0
    assert not ended.wait(0.2)
    off = 3599.5  # so much is waited out
    assert not ended.wait(0.2)
    off = 0.0
    assert ended.wait(10)
    assert codes == [SET_BACK]

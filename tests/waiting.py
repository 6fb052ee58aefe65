"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

# How many sessions of this database wait for a lock that another one has.
FOR_LOCKS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


def wait_until(
    happened: Callable[[], bool], seconds: float = 30.0, told: Callable[[], str] = lambda: ""
) -> None:
    """Looks again and again until it has happened. Fails after so many seconds, with what is told
    then."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether a process lives: not one that is dead, and nobody asked how it ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"

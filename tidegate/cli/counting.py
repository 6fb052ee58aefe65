"""Keeps the counts of plain tables up to date while a command writes: it needs nobody else then."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from tidegate.store import aggregates, connection
from tidegate.store.connection import Conn

log = logging.getLogger("tidegate.maintain")

EVERY = 60.0  # seconds


@contextmanager
def counted(url: str, every: float = EVERY) -> Iterator[None]:
    """Refreshes the counts in a thread of its own, so many seconds from the end of one to the start
    of the next. Deletes nothing: what is past its retention goes with `tidegate maintain` only."""
    ended = threading.Event()
    at_work: list[Conn] = []

    def count() -> None:
        while not ended.wait(every):
            try:
                with connection.connect(url, application_name="tidegate-counts") as conn:
                    at_work[:] = [conn]
                    conn.autocommit = True
                    if aggregates.kind(conn) is aggregates.Kind.KEPT:  # others have their policies
                        aggregates.refresh(conn)
            except psycopg.Error as error:
                if not ended.is_set():
                    log.warning("not counted this time: %s", " ".join(str(error).split()))

    thread = threading.Thread(target=count, name="tidegate-counts", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        for conn in at_work:
            with suppress(psycopg.Error):
                conn.cancel_safe(timeout=1)  # what was not counted stays stale, and right
        thread.join()

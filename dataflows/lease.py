"""Holds the lease on the database (`tidegate.store.lease`) while a cluster runs.

A cluster that loses it to another is stopped by its generation, as soon as it would write.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress

import psycopg

from tidegate.store import connection, lease
from tidegate.store.connection import Conn

log = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds to try for it: the session of a cluster that was just killed may linger
_POLL = 0.1  # seconds between two tries
_CHECK = 3.0  # seconds between two looks whether the session is still there


class Lease:
    """The lease, held from its making to `close`; taken again when its session is lost.

    Raises `lease.AnotherCluster` when it is not to be had, and psycopg.OperationalError when there
    is no database. check: seconds between two looks whether the session is still there.
    """

    def __init__(self, url: str, check: float = _CHECK) -> None:
        self._url = url
        self._check = check
        self._lock = threading.Lock()  # whoever has it may use the connection
        self._conn: Conn | None = None  # one that holds the lease
        self._lost = False
        self._closed = threading.Event()
        self._take(_PATIENCE)
        self._thread = threading.Thread(target=self._keep, name="tidegate-lease", daemon=True)
        self._thread.start()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def require(self) -> None:
        """Makes sure that the lease is held at this moment; raises as the making does."""
        with self._lock:
            try:
                self._look()
            except psycopg.OperationalError:
                self._drop()
                self._take(_PATIENCE)

    def close(self) -> None:
        """Gives the lease back."""
        self._closed.set()
        # A look at a database that has gone silent may take long; its socket's end cuts it short.
        self._thread.join(1.0)
        self._drop()

    def _keep(self) -> None:
        while not self._closed.wait(self._check):
            with self._lock:
                try:
                    self._look()
                except psycopg.Error as error:
                    self._drop()
                    self._say_lost(error)
                    continue
                except lease.AnotherCluster as error:
                    # Nothing to do: our generation stops us, or the other one ends.
                    self._say_lost(error)
                    continue
            if self._lost:
                log.info("the lease on the database is held again")
            self._lost = False

    def _look(self) -> None:
        if self._conn is None:
            self._take(0)
        else:
            self._conn.execute("SELECT")

    def _take(self, patience: float) -> None:
        conn = connection.connect(self._url, application_name="tidegate-lease")
        try:
            conn.autocommit = True
            deadline = time.monotonic() + patience
            while not lease.take(conn):
                if time.monotonic() >= deadline:
                    raise lease.refusal(conn)
                time.sleep(_POLL)
        except BaseException:
            conn.close()
            raise
        self._conn = conn

    def _drop(self) -> None:
        if self._conn is not None:
            with suppress(psycopg.Error):
                self._conn.close()
            self._conn = None

    def _say_lost(self, error: Exception) -> None:
        if not self._lost:
            reason = " ".join(str(error).split())
            log.warning("the lease on the database is lost for now: %s", reason)
        self._lost = True

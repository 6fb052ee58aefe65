"""A connection of a thread of its own, which waits out the database's absence."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import LiteralString, TypeVar

import psycopg
from psycopg import errors

from tidegate.store import connection
from tidegate.store.connection import Conn

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between tries while the database is away

# What passes by itself: a lost or refused connection, a restart, a full disk, a deadlock; a standby
# that is about to be promoted, and a session that stood still for longer than the server allows.
_PASSING = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
)

# Of those, what says nothing against the database: of two who wait for each other one goes again.
_TAKEN_BACK = (errors.DeadlockDetected, errors.SerializationFailure)

# A machine that stands still within a transaction must not hold its locks for as long: the next
# cluster waits for them. Unless the server or the URL has a limit of its own.
_PATIENCE = """
SELECT set_config('idle_in_transaction_session_timeout', '30s', false)
WHERE current_setting('idle_in_transaction_session_timeout') = '0'
"""

T = TypeVar("T")


class Link:
    """One thread's connection, made anew after every failure.

    listen: the statement that lets a session be told of what `wait` waits for; whatever was told of
    before it is seen by the next job.
    """

    def __init__(
        self,
        url: str,
        name: str,
        closed: threading.Event,
        *,
        listen: LiteralString | None = None,
    ) -> None:
        self._url = url
        self._name = name
        self._closed = closed
        self._listen = listen
        self._conn: Conn | None = None
        self._away_since: float | None = None

    def away(self) -> str | None:
        """For how long the database has not answered, in words; None when it does."""
        since = self._away_since
        if since is None:
            return None
        return f"the database does not answer, for {time.monotonic() - since:.0f} s now"

    def work(self, job: Callable[[Conn], T]) -> T:
        """Does the job in a transaction of its own, again and again until the database lets it
        through. Raises what does not pass by itself, and anything once `closed` is set."""

        def in_transaction(conn: Conn) -> T:
            with conn.transaction():
                return job(conn)

        return self.attempt(in_transaction)

    def attempt(self, job: Callable[[Conn], T]) -> T:
        """Does what `work` does for a job that begins and commits its transaction itself."""
        pause = _FIRST_PAUSE
        while True:
            try:
                conn = self._connect() if self._conn is None else self._conn
                done = job(conn)
                self._away_since = None
                return done
            except _PASSING as error:
                self.close()
                if self._closed.is_set():
                    raise
                taken_back = isinstance(error, _TAKEN_BACK)
                if not taken_back:
                    self._away_since = self._away_since or time.monotonic()
                what = "took a transaction back" if taken_back else "is away"
                reason = " ".join(str(error).split())
                log.warning(
                    "%s: the database %s, next try in %g s: %s", self._name, what, pause, reason
                )
                self._closed.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except BaseException:
                self.close()  # what the job had begun ends with its session
                raise

    def wait(self, seconds: float) -> None:
        """Waits for so long, or until the database tells of what is listened to."""
        if self._conn is None:
            self._closed.wait(seconds)
            return
        try:
            for _ in self._conn.notifies(timeout=seconds, stop_after=1):
                pass
        except _PASSING:
            self.close()  # the next job finds out what is the matter

    def _connect(self) -> Conn:
        conn = self._conn = connection.connect(
            self._url, application_name=self._name, autocommit=True
        )
        conn.execute(_PATIENCE)
        if self._listen is not None:
            conn.execute(self._listen)
        return conn

    def close(self) -> None:
        """Closes the connection, if there is one."""
        if self._conn is not None:
            with suppress(psycopg.Error):
                self._conn.close()
            self._conn = None

"""When keys and sessions were last used: noted in memory, written once a minute."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from uuid import UUID

import psycopg
from anyio import to_thread

from api.access.callers import Caller
from tidegate.store import api_keys, sessions
from tidegate.store.connection import Conn

log = logging.getLogger(__name__)

EVERY = 60.0  # seconds
PATIENCE = 0.5  # seconds for a connection: the end of a process waits for it
MOST = 10_000  # of each kind; what is used beyond that, before it is written, is not noted


class Uses:
    """For the event loop alone, but for the writing. A use that could not be written is lost: it is
    for people to look at, and only bounds how long a session may be idle."""

    def __init__(self, writing: Callable[[float], AbstractContextManager[Conn]]) -> None:
        self._writing = writing
        self._keys: dict[UUID, datetime] = {}
        self._sessions: dict[bytes, datetime] = {}

    def note(self, caller: Caller) -> None:
        """Notes that somebody called now."""
        now = datetime.now(UTC)
        if caller.key_id is not None and _room(self._keys, caller.key_id):
            self._keys[caller.key_id] = now
        if caller.session_hash is not None and _room(self._sessions, caller.session_hash):
            self._sessions[caller.session_hash] = now

    async def run(self) -> None:
        """Writes once a minute, and once more when it is cancelled."""
        try:
            while True:
                await asyncio.sleep(EVERY)
                await self.write()
        finally:
            await self.write()

    async def write(self) -> None:
        """Writes what was noted since the last time."""
        keys, self._keys = self._keys, {}
        cookies, self._sessions = self._sessions, {}
        if keys or cookies:
            await to_thread.run_sync(self._write, keys, cookies)

    def _write(self, keys: dict[UUID, datetime], cookies: dict[bytes, datetime]) -> None:
        try:
            with self._writing(PATIENCE) as conn:
                if keys:
                    api_keys.used(conn, keys)
                if cookies:
                    sessions.used(conn, cookies)
        except psycopg.Error as ex:  # away, or the role may only read
            log.warning("when keys were used could not be written: %s", type(ex).__name__)


def _room(noted: dict[UUID, datetime] | dict[bytes, datetime], name: object) -> bool:
    return name in noted or len(noted) < MOST

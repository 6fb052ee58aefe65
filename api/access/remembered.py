"""What was found out of a credential, kept for some seconds: a request costs no query then."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from api.access.callers import Caller

SECONDS = 5.0  # a key that was revoked is taken for as long, and the time of one query
MOST = 4_096  # callers


class Remembered:
    """Callers by the SHA-256 of their credential, so that none is in memory as it came.

    Only who was let in is remembered, so nobody fills this with what is none. At the bound the one
    goes that was found longest ago. For the event loop alone.
    """

    def __init__(
        self,
        *,
        seconds: float = SECONDS,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._wall = wall
        self._found: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Caller]] = {}

    def get(self, digest: bytes) -> Caller | None:
        """The caller, if found not long ago and not expired since."""
        found = self._found.get(digest)
        if found is None or self._clock() >= found[1]:
            return None
        expires = found[0].expires_at
        if expires is not None and self._wall() >= expires.timestamp():
            return None
        return found[0]

    def knew(self, digest: bytes) -> bool:
        """Whether it was ever found, as far back as is kept."""
        return digest in self._found

    async def ask(self, digest: bytes, find: Callable[[], Awaitable[Caller]]) -> Caller:
        """Finds out and remembers. Of several who ask the same at once, one does; the others get
        what it found, or its exception."""
        task = self._asking.get(digest)
        if task is None:
            task = asyncio.ensure_future(self._ask(digest, find))
            self._asking[digest] = task
        # One who goes away takes nothing from the others.
        return await asyncio.shield(task)

    def forget(self, digest: bytes) -> None:
        """Finds out anew next time."""
        self._found.pop(digest, None)

    async def _ask(self, digest: bytes, find: Callable[[], Awaitable[Caller]]) -> Caller:
        until = self._clock() + self._seconds
        try:
            caller = await find()
        except BaseException:
            self._found.pop(digest, None)
            raise
        finally:
            del self._asking[digest]
        self._found[digest] = (caller, until)
        self._found.move_to_end(digest)
        if len(self._found) > self._most:
            self._found.popitem(last=False)
        return caller

"""What one client of the alerts' stream is sent: what it missed, then what comes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Iterator, Sequence

import psycopg
from anyio import to_thread

from api.context import Context
from api.following import BATCH, frame
from api.streams import Frame, Stream
from tidegate import metrics
from tidegate.store import alert_events
from tidegate.store.alert_events import AlertEvent, Position

RETRY_SECONDS = 2  # until a client comes back
_TOGETHER = 64  # events of one write


class Feed:
    """The parts of one response. `start`: after which event the client goes on; None: from now."""

    def __init__(self, context: Context, stream: Stream, start: Position | None) -> None:
        self._context = context
        self._streams = context.streams
        self._stream = stream
        self._start = start
        self._sent = start

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """All of it, as bytes to be written."""
        yield f"retry: {RETRY_SECONDS * 1000}\n\n".encode()
        try:
            async for part in self._missed():
                yield part
        except psycopg.OperationalError:
            yield b": the database does not answer\n\n"
            return
        if self._sent is None:
            self._sent = self._streams.join(self._stream)
            if self._start is not None:
                yield _named(self._sent, "event: reset\ndata: {}")
            else:
                yield _named(self._sent, ": from now on")
        async for part in self._coming(self._sent):
            yield part

    async def _missed(self) -> AsyncGenerator[bytes, None]:
        # Twice to the end: before the stream joins, so that little gathers in it meanwhile, and
        # again for what came between. After that, nothing is between what was read and what comes.
        for join in (False, True):
            if join and self._sent is not None:
                self._streams.join(self._stream)
            more = True
            while more and self._sent is not None:
                events = await self._page(self._sent)
                if events is None:
                    self._sent = None
                    return
                if events:
                    self._sent = events[-1].position
                made = [found for found in map(frame, events) if found is not None]
                for part in _written([found for found in made if self._stream.wants(found)]):
                    yield part
                more = len(events) == BATCH

    async def _coming(self, sent: Position) -> AsyncGenerator[bytes, None]:
        # Not at the same moment for all: those that a restart brought together would stay so.
        live, now = self._streams.live, asyncio.get_running_loop().time
        end = now() + live.stream_seconds * random.uniform(0.9, 1.0)
        while self._stream.over is None:
            if now() >= end:
                yield b": come back\n\n"
                return
            taken = await self._stream.take(min(end - now(), live.heartbeat_seconds))
            frames = [found for found in taken if found.position > sent]
            for part in _written(frames):
                yield part
            if frames:
                sent = frames[-1].position
            elif self._stream.over is None:
                sent = max(sent, self._stream.position)
                yield _named(sent, ": still here")
        yield f": {self._stream.over}\n\n".encode()

    async def _page(self, position: Position) -> list[AlertEvent] | None:
        """What comes after the position; None where some of that may be gone."""

        def read() -> list[AlertEvent] | None:
            with self._context.pool.connection() as conn:
                if not alert_events.known(conn, position):
                    return None
                return alert_events.after(conn, position, limit=BATCH)

        return await to_thread.run_sync(read, limiter=self._context.catching_up)


def _named(position: Position, lines: str) -> bytes:
    # An id without data is no event, and still where the client goes on from.
    return f"{lines}\nid: {position}\n\n".encode()


def _written(frames: Sequence[Frame]) -> Iterator[bytes]:
    for first in range(0, len(frames), _TOGETHER):
        together = frames[first : first + _TOGETHER]
        yield b"".join(found.content for found in together)
        metrics.STREAM_EVENTS.inc(len(together))

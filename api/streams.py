"""The open streams of alerts: each batch of events is read once and handed to all of them.

Everything here runs in the event loop. What a stream has not sent yet is bounded: one that falls
behind is ended, and its client goes on from the last event it has, which the database still knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.store.alert_events import Position


@dataclass(frozen=True, slots=True)
class Live:
    """How alerts are streamed. Times are in seconds."""

    stream_seconds: float = 600.0  # of one stream; who reconnects is asked again who it is
    heartbeat_seconds: float = 15.0  # proxies close what is silent
    send_seconds: float = 30.0  # that a client may take nothing
    most: int = 500  # streams at a time
    backlog: int = 2_000  # events that wait for one stream


@dataclass(frozen=True, slots=True)
class Frame:
    """An event as it is sent, made once for all streams."""

    position: Position
    decision: str  # of its alert
    content: bytes


class Full(Exception):
    """As many streams are open as may be."""


class Stream:
    """What one client has still to be sent."""

    def __init__(self, decision: str | None, backlog: int) -> None:
        self._decision = decision
        self._backlog = backlog
        self._frames: list[Frame] = []
        self._wake = asyncio.Event()
        self.over: str | None = None  # why it is to be ended
        # Up to here, everything was sent, waits here or is of another decision.
        self.position = Position(0, 0)

    def offer(self, frames: Sequence[Frame], position: Position) -> None:
        """Adds what it wants; ends it where too much waits already."""
        if self.over is not None:
            return
        wanted = [f for f in frames if self._decision in (None, f.decision)]
        if len(self._frames) + len(wanted) > self._backlog:
            self.end("fell behind")
            return
        self.position = position
        if wanted:
            self._frames += wanted
            self._wake.set()

    def wants(self, frame: Frame) -> bool:
        """Whether the client asked for such."""
        return self._decision in (None, frame.decision)

    def end(self, why: str) -> None:
        """Lets go of what waits. The client has the id of what it got."""
        self.over = why
        self._frames.clear()
        self._wake.set()

    async def take(self, seconds: float) -> list[Frame]:
        """What waits, or, after so many seconds or when it is over, nothing."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return []
        self._wake.clear()
        taken, self._frames = self._frames, []
        return taken


class Streams:
    """All open streams of this process."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.position: Position | None = None  # up to where events were told; None: not yet
        self.closing = False
        self._open: set[Stream] = set()
        self._joined: set[Stream] = set()

    def open(self, decision: str | None) -> Stream:
        """One more stream, which gets nothing before it joins. Raises Full."""
        if len(self._open) >= self.live.most:
            raise Full
        stream = Stream(decision, self.live.backlog)
        self._open.add(stream)
        if self.closing:
            stream.end("the server stops")
        return stream

    def join(self, stream: Stream) -> Position:
        """Hands it all events from the position that is returned. Not before there is one."""
        assert self.position is not None
        self._joined.add(stream)
        stream.position = self.position
        return self.position

    def leave(self, stream: Stream) -> None:
        """It is no more."""
        self._open.discard(stream)
        self._joined.discard(stream)

    def tell(self, frames: Sequence[Frame], position: Position) -> None:
        """Hands events to all, which go up to this position."""
        self.position = position
        for stream in tuple(self._joined):
            stream.offer(frames, position)

    def restart(self, position: Position) -> None:
        """Events from before this position can no longer be told. Who comes back is told so."""
        self.position = position
        self._end_all("the events start anew")

    def close(self) -> None:
        """Ends all, now and from now on."""
        self.closing = True
        self._end_all("the server stops")

    def _end_all(self, why: str) -> None:
        for stream in self._open:
            stream.end(why)

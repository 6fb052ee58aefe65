"""A bound on the time that a request's head takes to come: who sends it drop by drop, or opens a
connection and says nothing, would hold it for ever; so would who goes on with a body that was
answered already. Bodies that are read have theirs in `api.edge`."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# From its first byte, or from the connection's start, to its end; also for the rest of a body.
HEAD_SECONDS = 30.0


class TimedHeads(H11Protocol):
    """uvicorn's, which closes a connection whose request's head has not come whole in time."""

    _head_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins to wait for the first head."""
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Waits while what came is neither a whole head nor of a body that somebody reads: uvicorn
        has taken its keep-alive's timer away."""
        super().data_received(data)
        theirs = self.conn.their_state
        if theirs is h11.IDLE or (theirs is h11.SEND_BODY and self.conn.our_state is h11.DONE):
            self._wait_for_head()
        elif self._head_late is not None:
            self._head_late.cancel()
            self._head_late = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no longer."""
        if self._head_late is not None:
            self._head_late.cancel()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._head_late is None:
            # Silently, as an idle connection ends: half a head is no request to be answered.
            self._head_late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

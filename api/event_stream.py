"""Server-sent events (WHATWG HTML, section 9.2) as a response that ends with its client."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)


class EventStream(Response):
    """Sends the parts as they come. The parts are closed when the client goes, and when it takes
    nothing for `send_seconds`."""

    media_type = "text/event-stream"

    def __init__(self, parts: AsyncGenerator[bytes, None], *, send_seconds: float) -> None:
        self._parts = parts
        self._send_seconds = send_seconds
        self.status_code = 200
        self.background = None
        # Proxies that gather an answer before they pass it on would keep it for ever.
        self.init_headers({"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The stream, to its end."""
        async with anyio.create_task_group() as group:
            group.start_soon(_until_gone, receive, group.cancel_scope)
            await self._sent(send)
            group.cancel_scope.cancel()

    async def _sent(self, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        async with aclosing(self._parts) as parts:
            try:
                async for part in parts:
                    with anyio.fail_after(self._send_seconds):
                        await send({"type": "http.response.body", "body": part, "more_body": True})
            except TimeoutError:
                log.info("a stream's client took nothing for %g s", self._send_seconds)
                return  # the server closes the connection of what was not ended
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()

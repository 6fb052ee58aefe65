"""The web server, which ends open streams when it is told to stop: it would wait for them."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

from api.context import Context


class Server(uvicorn.Server):
    """uvicorn's, for an application that `create_app` made."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends the streams, then all else."""
        context: Context = self._app.state.context
        context.streams.close()
        await super().shutdown(sockets)

"""A small client for load: HTTP/1.1 over connections that stay open, and no more of it than that.

The usual clients take more of the machine than the server that they are to measure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


class Connections:
    """As many connections to one server as are needed at a time."""

    def __init__(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        self._host, self._port = host, port
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Sends a request and reads its answer."""
        pair = self._free.pop() if self._free else await self._open()
        if pair[0].at_eof():
            pair = await self._open()
        reader, writer = pair
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{self._headers}"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await _read(reader)
        self._free.append(pair)
        return answer

    def close(self) -> None:
        """Closes all of them."""
        for _, writer in self._free:
            writer.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    length = next(
        int(line.partition(":")[2]) for line in head if line.lower().startswith("content-length:")
    )
    return Answer(status, await reader.readexactly(length))

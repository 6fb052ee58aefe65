"""A plain client of server-sent events, as the standard says that one reads them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Event:
    kind: str
    id: str
    data: Any


@dataclass
class Events:
    """What comes of a stream; `id` is the last one that was named, `comments` what was said."""

    response: httpx.Response
    id: str = ""
    retry: int | None = None
    comments: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blocks = self._read()

    def __iter__(self) -> Iterator[Event]:
        return (event for event in self.blocks if event.data is not None)

    def begin(self) -> None:
        """Reads until the stream has said from where on it goes."""
        while not self.id:
            next(self.blocks)

    def _read(self) -> Iterator[Event]:
        """Every block, also those without data, which are no events."""
        kind, data = "", ""
        for line in self.response.iter_lines():
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                yield Event(kind, self.id, json.loads(data) if data else None)
                kind, data = "", ""
            elif not name:
                self.comments.append(value)
            elif name == "id":
                self.id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data += value
            elif name == "retry":
                self.retry = int(value)

    def take(self, count: int) -> list[Event]:
        """The next so many, or fewer where it ends."""
        found: list[Event] = []
        for event in self:
            found.append(event)
            if len(found) == count:
                break
        return found


@contextmanager
def listening(client: httpx.Client, **given: Any) -> Iterator[Events]:
    """A stream that is open: what happens from now on comes."""
    headers = {"Last-Event-ID": given.pop("last")} if given.get("last") else {}
    given.pop("last", None)
    with client.stream("GET", "/v1/alerts/stream", params=given, headers=headers) as response:
        assert response.status_code == 200, response.read()
        events = Events(response)
        if not headers and "after" not in given:
            events.begin()
        yield events


def raw(client: httpx.Client) -> socket.socket:
    """A connection that asks for the stream, to be read as slowly as one likes."""
    url = client.base_url
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    opened.settimeout(30)
    opened.connect((url.host, url.port))
    key = client.headers["Authorization"]
    asked = f"GET /v1/alerts/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n\r\n"
    opened.sendall(asked.encode())
    return opened

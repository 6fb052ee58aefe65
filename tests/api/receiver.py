"""A real HTTP server that webhooks are sent to, and that does as it is told."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """A request as it came."""

    path: str
    headers: dict[str, str]  # by names in lower case
    body: bytes
    at: float = field(default_factory=time.time)

    @property
    def data(self) -> Any:
        return json.loads(self.body)


# Says with which status, and headers, a request is answered.
Answer = Callable[[Received], tuple[int, dict[str, str]]]


def ok(request: Received) -> tuple[int, dict[str, str]]:
    return 200, {}


class Receiver:
    """Where webhooks lead. `answer` may be changed while it runs; `hanging` holds answers back."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answer: Answer = ok
        self.received: list[Received] = []
        self.hanging = threading.Event()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def events(self) -> list[str]:
        return [request.headers["tidegate-event-id"] for request in self.received]


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A server on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Received(self.path, headers, body)
            receiver.received.append(request)
            if receiver.hanging.is_set():
                receiver.released.wait(30)
            status, given = receiver.answer(request)
            self.send_response(status)
            for name, value in given.items():
                self.send_header(name, value)
            if "Content-Length" in given:
                self.end_headers()
                receiver.released.wait(30)  # the rest never comes
                return
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients that go away are part of the tests

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver = Receiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.shutdown()
        server.server_close()
        thread.join()

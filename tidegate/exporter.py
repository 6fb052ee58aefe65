"""What a process without an API shows of itself: metrics, whether it lives, whether it is ready."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from tidegate import metrics

# What stands in the way of the work just now, in one line; None for nothing.
Check = Callable[[], str | None]

_SECONDS = 10.0  # that a client may take to ask


@dataclass(frozen=True, slots=True)
class Exporter:
    """A running exporter. Leave it to the process's end, or `close` it."""

    port: int
    close: Callable[[], None]


def serve(
    port: int, host: str = "127.0.0.1", checks: Mapping[str, Check] | None = None
) -> Exporter:
    """Answers /metrics, /healthz and /readyz at http://host:port from threads of its own.

    host: an address of this machine, 0.0.0.0 or :: for all of them. port: 0 lets the system choose.
    checks: what /readyz asks, by name; it answers 503 while one of them has something to say.
    Raises `OSError` when the port is taken or the address is not this machine's.
    """
    known = {} if checks is None else checks  # as it is when asked

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        status, kind, body = _answer(environ.get("PATH_INFO", ""), known)
        start(f"{status.value} {status.phrase}", [("Content-Type", kind)])
        return [body]

    server = make_server(host, port, app, _server_class(host), _Quiet)
    thread = Thread(target=server.serve_forever, name="tidegate-exporter", daemon=True)
    thread.start()
    return Exporter(server.server_port, lambda: _close(server, thread))


def _answer(path: str, checks: Mapping[str, Check]) -> tuple[HTTPStatus, str, bytes]:
    if path == "/metrics":
        body, kind = metrics.exposition()
        return HTTPStatus.OK, kind, body
    if path == "/healthz":
        return _json(HTTPStatus.OK, {"status": "alive"})
    if path == "/readyz":
        found = [(name, check()) for name, check in checks.items()]
        shown = [{"name": name, "ok": why is None, "detail": why or "ok"} for name, why in found]
        wrong = [why for _, why in found if why is not None]
        if wrong:
            status = HTTPStatus.SERVICE_UNAVAILABLE
            return _json(status, {"status": "not ready", "checks": shown})
        return _json(HTTPStatus.OK, {"status": "ready", "checks": shown})
    return _json(HTTPStatus.NOT_FOUND, {"status": "not found"})


def _json(status: HTTPStatus, value: object) -> tuple[HTTPStatus, str, bytes]:
    return status, "application/json", json.dumps(value).encode()


def _server_class(host: str) -> type[WSGIServer]:
    family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]

    class Server(ThreadingMixIn, WSGIServer):
        address_family = family
        daemon_threads = True  # a client that says nothing keeps nobody from ending

    return Server


class _Quiet(WSGIRequestHandler):
    timeout = _SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Probes come every few seconds: no lines for them."""


def _close(server: WSGIServer, thread: Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join()

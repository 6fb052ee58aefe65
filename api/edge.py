"""What every request passes: security headers, measurement, and the last net for errors."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import kinds, problems, traced
from tidegate import logs, metrics

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
        " object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Card tokens and scores stay out of caches; the static files say otherwise for themselves.
    "Cache-Control": "no-store",
}


BODY_SECONDS = 30.0  # for the whole body to come
LARGEST_BODY = 131_072  # bytes of a request
LARGEST_INTAKE = 4_194_304  # the same of a thousand payments or labels
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{8,64}")
_LARGEST = {"/v1/transactions": LARGEST_INTAKE, "/v1/labels": LARGEST_INTAKE}


class Edge:
    """Middleware. It sits inside Starlette's own net for errors, so that a 500 is a problem with
    all headers, too; the exception goes to the log and no further."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        with traced.request(scope), logs.about(request_id=request_id):
            await self._answer(scope, receive, send, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started = time.perf_counter()
        largest = _LARGEST.get(scope["path"], LARGEST_BODY)
        status = 0

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, _bounded(receive, largest), with_headers)
        except Exception:
            log.exception("a request failed")
            if status:  # too late for an answer: the server cuts the connection
                raise
            await problems.reply(kinds.INTERNAL)(scope, receive, with_headers)
        finally:
            seconds = time.perf_counter() - started
            route = route_of(scope)
            metrics.API_REQUESTS.labels(route=route, status=str(status or 499)).inc()
            metrics.API_REQUEST_SECONDS.labels(route=route).observe(seconds)
            traced.answered(scope["method"], route, status, request_id)
            told = {"route": route, "status": status, "ms": round(1000 * seconds, 1)}
            level = logging.WARNING if status >= 500 else logging.DEBUG
            log.log(level, "answered", extra=told)


def _request_id(scope: Scope) -> str:
    """The id that the client gave the request, if it is one, else a new one: for the logs of both
    sides."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid4().hex


def _bounded(receive: Receive, largest: int) -> Receive:
    """Receives no more than a body may have, and waits no longer for it: the server itself knows no
    bounds."""
    received = 0
    whole = False
    until = asyncio.get_running_loop().time() + BODY_SECONDS

    async def bounded() -> Message:
        nonlocal received, whole
        if whole:  # what comes now is the end of the connection, whenever that is
            return await receive()
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            detail = f"the body did not come within {BODY_SECONDS:g} s"
            closed = {"Connection": "close"}
            raise problems.Failed(kinds.TOO_SLOW, detail, headers=closed) from None
        if message["type"] == "http.request":
            whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > largest:
                raise problems.Failed(kinds.TOO_LARGE, f"at most {largest:,} bytes are taken")
        return message

    return bounded


def route_of(scope: Scope) -> str:
    """The template of the route that took the request, as `/v1/alerts/{alert_id}`: never a path
    with an id in it."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "unmatched"

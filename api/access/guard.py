"""Lets requests through, or refuses them: who calls, how often, and whether they may."""

from __future__ import annotations

import logging
from html import escape
from typing import Annotated
from urllib.parse import quote

import psycopg
from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from api import kinds, problems, routing
from api.access import policy
from api.access.callers import Caller, too_many
from api.access.credentials import Credentials
from api.access.limits import Buckets, address_of
from api.access.policy import Open
from api.access.uses import Uses
from api.problems import Failed
from tidegate import metrics
from tidegate.settings import Access

log = logging.getLogger(__name__)

CALLER = "tidegate.caller"  # in the request's scope: who calls, None where everybody may
_ALLOWED = "tidegate.allowed"  # in the request's scope: the route that was looked up in the policy


class Guard:
    """Middleware, inside the edge and outside the routes: what is refused is neither read nor
    parsed."""

    def __init__(
        self, app: ASGIApp, routes: list[BaseRoute], given: Access, who: Credentials, uses: Uses
    ) -> None:
        self._app = app
        self._routes = routes
        self._who = who
        self._uses = uses
        self._callers = Buckets(given.rate_per_second, given.rate_burst)
        self._addresses = Buckets(given.rate_per_second, given.rate_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no route has web sockets, so nobody may open one
            await send({"type": "websocket.close", "code": 1008})
            return
        route = routing.matched(self._routes, scope)
        path = getattr(route, "path", None)
        try:
            await self._pass(scope, path)
        except Failed as ex:
            scope["route"] = route  # the metrics know it by this
            metrics.API_REFUSALS.labels(status=str(ex.kind.status)).inc()
            await _refusal(scope, ex, path)(scope, receive, send)
            return
        except psycopg.Error as ex:
            scope["route"] = route
            await problems.of_database(ex)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _pass(self, scope: Scope, path: str | None) -> None:
        """Writes into the scope who calls, and that they may. Raises Failed."""
        scope[CALLER] = None
        if path is None:  # no route: 404 or 405, whoever asks
            self._known_by_address(scope)
            return
        need = policy.need(scope["method"], path)
        if need is Open.EVERYBODY:
            self._known_by_address(scope)
            scope[_ALLOWED] = path
            return
        try:
            caller = await self._who.caller(scope, Headers(scope=scope))
        except Failed:
            self._known_by_address(scope)
            raise
        wait = self._callers.take(caller.key_id or (caller.actor, address_of(scope)))
        if wait:
            raise too_many(wait)
        if need is None:
            log.error("a route is not in the policy", extra={"route": path})
            raise Failed(kinds.FORBIDDEN, "nobody may call this")
        if need is not Open.CALLERS and need not in caller.scopes:
            raise Failed(kinds.FORBIDDEN, f"this needs the scope {need.value}")
        self._uses.note(caller)
        scope[CALLER] = caller
        scope[_ALLOWED] = path

    def _known_by_address(self, scope: Scope) -> None:
        wait = self._addresses.take(address_of(scope))
        if wait:
            raise too_many(wait)


async def check(request: Request) -> None:
    """For every route: refuses one that is another than the one that was looked up. So a route that
    the guard does not see, however it came to be there, is closed."""
    path = getattr(request.scope.get("route"), "path", None)
    if path is None or request.scope.get(_ALLOWED) != path:
        raise Failed(kinds.FORBIDDEN, "nobody may call this")


async def caller_of(request: Request) -> Caller:
    """Who calls. To be asked where the policy lets in just those who are known."""
    caller = request.scope.get(CALLER)
    if not isinstance(caller, Caller):
        raise Failed(kinds.FORBIDDEN, "nobody may call this")
    return caller


Who = Annotated[Caller, Depends(caller_of)]


async def _actor(caller: Who) -> str:
    return caller.actor


Actor = Annotated[str, Depends(_actor)]  # who calls, for the audit


def _refusal(scope: Scope, ex: Failed, path: str | None) -> Response:
    page = path is not None and policy.is_page(path) and scope["method"] in ("GET", "HEAD")
    if ex.kind is kinds.UNAUTHENTICATED and page:
        query = scope["query_string"].decode("latin-1")
        wanted = "/" + quote(scope["path"].lstrip("/")) + (f"?{query}" if query else "")
        # A link from another site: the browser keeps the cookie back until a page of ours asks.
        if Headers(scope=scope).get("sec-fetch-site") == "cross-site":
            return HTMLResponse(f'<meta http-equiv="refresh" content="0; url={escape(wanted)}">')
        return RedirectResponse(f"/login?next={quote(wanted, safe='/')}", 303)
    return problems.reply(ex.kind, ex.told, headers=ex.headers)

"""Finds out who calls: by a key, by a token of the issuer, or by the pages' cookie."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import anyio
from anyio import to_thread
from psycopg_pool import ConnectionPool
from starlette.datastructures import Headers
from starlette.types import Scope

from api import kinds
from api.access import cookies
from api.access.callers import ANYBODY, Caller, too_many, unknown
from api.access.limits import Buckets, address_of
from api.access.oidc import Issuer
from api.access.remembered import Remembered
from api.problems import Failed
from tidegate import keys
from tidegate.access import scopes_of
from tidegate.environment import is_loopback
from tidegate.settings import Access
from tidegate.store import api_keys, sessions
from tidegate.store.api_keys import FoundKey
from tidegate.store.connection import Conn
from tidegate.store.sessions import Session

# Looking up must not take the threads that answer: at most so many at a time, the others wait.
LOOKUPS = 4
ISSUES = 2  # for tokens, which may have to wait for their issuer
LONGEST = 8_192  # characters of a token
# Credentials that are none, of an address: so many at once, and so many a second.
WRONG_BURST, WRONG_RATE = 20, 2


class Credentials:
    """Who calls, remembered for some seconds. For the event loop alone."""

    def __init__(self, given: Access, pool: ConnectionPool[Conn]) -> None:
        self._auth = given.auth
        self._pool = pool
        self._issuer = None if given.oidc_issuer is None else Issuer(given)
        self._remembered = Remembered()
        self._wrong = Buckets(WRONG_RATE, WRONG_BURST)
        self._lookups = anyio.CapacityLimiter(LOOKUPS)
        self._issues = anyio.CapacityLimiter(ISSUES)

    async def caller(self, scope: Scope, headers: Headers) -> Caller:
        """Who calls. Raises Failed, and what the database raises."""
        method = scope["method"]
        given = headers.get("authorization")
        if not self._auth:
            # Another site could give itself the name of this machine's address (DNS rebinding).
            if not is_loopback(cookies.host_of(headers)):
                detail = "authentication is off, so just localhost may be asked"
                raise Failed(kinds.FORBIDDEN, detail)
            cookies.check_site(method, headers)
            return ANYBODY
        if given is not None:
            kind, _, text = given.partition(" ")
            text = text.strip()
            if kind.lower() != "bearer" or not 0 < len(text) <= LONGEST:
                raise unknown("Authorization must be Bearer with a key or a token")
            return await self.bearer(scope, text)
        secret = cookies.read(scope, headers)
        if secret is None:
            raise unknown("a key is needed: Authorization: Bearer tg_...")
        cookies.check_site(method, headers)
        caller = await self._find(scope, secret, self._session)
        cookies.check_token(method, headers, secret)
        return caller

    async def bearer(self, scope: Scope, text: str) -> Caller:
        """Who has this key or token. Raises Failed, and what the database raises."""
        if text.startswith("tg_"):
            return await self._find(scope, text, self._key)
        if self._issuer is not None and text.count(".") == 2:
            return await self._find(scope, text, self._issuer.caller, self._issues)
        raise self._not_right(scope, "the key is not right")

    def forget(self, secret: str) -> None:
        """Finds out anew who has this credential, as after its end."""
        self._remembered.forget(_digest(secret))

    async def _find(
        self,
        scope: Scope,
        text: str,
        find: Callable[[str], Caller],
        limiter: anyio.CapacityLimiter | None = None,
    ) -> Caller:
        # By its hash, so how long the look takes says nothing of the credential itself.
        digest = _digest(text)
        known = self._remembered.get(digest)
        if known is not None:
            return known
        if not self._remembered.knew(digest):
            wait = self._wrong.wait(address_of(scope))
            if wait:  # too many were wrong: nothing is looked up, right or not
                raise too_many(wait)
        run = partial(to_thread.run_sync, find, text, limiter=limiter or self._lookups)
        try:
            return await self._remembered.ask(digest, run)
        except Failed as ex:
            if ex.kind is kinds.UNAUTHENTICATED:
                self._wrong.take(address_of(scope))
            raise

    def _not_right(self, scope: Scope, detail: str) -> Failed:
        wait = self._wrong.take(address_of(scope))
        return too_many(wait) if wait else unknown(detail)

    def _key(self, text: str) -> Caller:
        key = keys.read(text)
        found = None
        if key is not None:
            with self._pool.connection() as conn:
                found = api_keys.find(conn, key.prefix)
        # One answer for all that can be wrong with it.
        if key is None or found is None or not hmac.compare_digest(key.hash, found.key_hash):
            raise unknown("the key is not right, has expired, or was revoked")
        return _caller(found)

    def _session(self, secret: str) -> Caller:
        with self._pool.connection() as conn:
            found = sessions.find(conn, keys.hashed(secret))
        if found is None:
            raise unknown("the session is over")
        return replace(_caller(found), session_hash=found.session_hash)


def _caller(found: FoundKey | Session) -> Caller:
    """The caller that a key, or a session that began with one, stands for."""
    return Caller(
        actor=f"key:{found.prefix} ({found.name})",
        name=found.name,
        scopes=scopes_of(found.role, found.scopes),
        role=found.role,
        key_id=found.key_id,
        expires_at=found.expires_at,
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()

"""Tokens of an OpenID Connect issuer: JWTs, checked with the keys that the issuer publishes.

An issuer that cannot be reached lets nobody in; those whose keys are here still are for a while.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.client import HTTPException as BadAnswer
from threading import Lock
from typing import Any

import jwt

from api import kinds
from api.access.callers import Caller, unknown
from api.problems import Failed
from tidegate.access import ROLES, Role, Scope, scopes_of
from tidegate.environment import is_safe_url
from tidegate.settings import Access

ALGORITHMS = ("RS256", "ES256", "EdDSA")
LEEWAY = 30  # seconds that clocks may differ
KEPT = 600.0  # seconds after which keys are fetched anew
AGAIN = 30.0  # seconds between two fetches for a key that is not among them
AFTER_FAILURE = 5.0  # seconds until an issuer that failed is asked again
PATIENCE = 5.0  # seconds for an answer
LARGEST = 1_000_000  # bytes of an answer
MOST_KEYS = 100
LONGEST_SUBJECT = 255  # characters, as OpenID Connect says


class Unreachable(Exception):
    """The issuer did not answer as one."""


class Issuer:
    """One issuer, and its keys. Its methods wait for the network: not for the event loop."""

    def __init__(self, given: Access, clock: Callable[[], float] = time.monotonic) -> None:
        assert given.oidc_issuer is not None
        self._issuer = given.oidc_issuer
        self._audience = given.oidc_audience
        self._claim = given.oidc_roles_claim
        self._clock = clock
        self._lock = Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = -KEPT
        self._failed = -AFTER_FAILURE

    def caller(self, token: str) -> Caller:
        """Who a token says that calls. Raises Failed: 401 for a token that is not right, 503 where
        its key is not here and the issuer cannot be reached."""
        try:
            header = jwt.get_unverified_header(token)
            # Before the issuer is asked for anything.
            if header.get("alg") not in ALGORITHMS or not isinstance(header.get("kid"), str):
                raise unknown("the token is not signed in a way that is taken")
            claims = jwt.decode(
                token,
                self._key(header["kid"]),
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "enforce_minimum_key_length": True,
                },
            )
        except jwt.ExpiredSignatureError as ex:
            raise unknown("the token has expired") from ex
        except jwt.PyJWTError as ex:  # of the token, or of a key that is too short
            raise unknown("the token is not right") from ex
        except Unreachable as ex:
            headers = {"Retry-After": str(int(AFTER_FAILURE))}
            detail = "the issuer of tokens does not answer"
            raise Failed(kinds.UNAVAILABLE, detail, headers=headers) from ex
        subject = claims["sub"]
        if not 0 < len(subject) <= LONGEST_SUBJECT or not subject.isprintable():
            raise unknown("the token names nobody")
        return Caller(
            actor=f"oidc:{subject}",
            name=subject,
            scopes=_scopes(_roles(claims, self._claim)),
            expires_at=_moment(claims["exp"]),
        )

    def _key(self, kid: str) -> jwt.PyJWK:
        """The key of this id; where there is none, the issuer is asked: it may have a new one."""
        with self._lock:  # one asks, and the others take what it got
            now = self._clock()
            age = now - self._fetched
            if age >= KEPT or (kid not in self._keys and age >= AGAIN):
                if now - self._failed < AFTER_FAILURE:
                    raise Unreachable
                try:
                    self._keys = self._fetch()
                except Unreachable:
                    self._failed = self._clock()
                    raise
                self._fetched = self._clock()
            found = self._keys.get(kid)
        if found is None:
            raise unknown("the token is signed with no key of the issuer")
        return found

    def _fetch(self) -> dict[str, jwt.PyJWK]:
        about = _get(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        address = about.get("jwks_uri")
        if about.get("issuer") != self._issuer or not isinstance(address, str):
            raise Unreachable
        listed = _get(address).get("keys")
        if not isinstance(listed, list):
            raise Unreachable
        keys = {}
        for given in listed[:MOST_KEYS]:
            key = _usable(given)
            if key is not None:
                keys[given["kid"]] = key
        return keys


def _moment(expires: float) -> datetime:
    # However far ahead it is: nobody is remembered for a day.
    return datetime.fromtimestamp(min(expires, time.time() + 86_400) + LEEWAY, UTC)


def _usable(given: object) -> jwt.PyJWK | None:
    if not isinstance(given, dict) or not isinstance(given.get("kid"), str):
        return None
    if given.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK.from_dict(given)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):  # of a kind that is not known
        return None
    return key if key.algorithm_name in ALGORITHMS else None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None  # an error then: it could lead away from https


def _get(url: str) -> Mapping[str, Any]:
    """A JSON object. Raises Unreachable."""
    if not is_safe_url(url):
        raise Unreachable
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(url, timeout=PATIENCE) as answer:
            content = json.loads(answer.read(LARGEST))
    except urllib.error.HTTPError as ex:
        ex.close()  # it is the answer as well
        raise Unreachable from ex
    except (OSError, ValueError, BadAnswer) as ex:
        raise Unreachable from ex
    if not isinstance(content, dict):
        raise Unreachable
    return content


def _roles(claims: Mapping[str, Any], claim: str) -> list[str]:
    """The names of a claim; its dots lead into objects, as in `realm_access.roles`, unless a claim
    has them in its own name."""
    found: object = claims.get(claim)
    if found is None:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, str):
        return found.split()
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _scopes(names: list[str]) -> frozenset[Scope]:
    known = {role.value for role in ROLES}
    none: frozenset[Scope] = frozenset()
    return none.union(*(scopes_of(Role(name)) for name in names if name in known))

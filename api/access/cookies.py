"""The pages' session: a cookie that scripts cannot read, and a token without which it
changes nothing."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from api import kinds
from api.problems import Failed
from tidegate.environment import Network, is_loopback

LIFETIME = 12 * 3600  # seconds
TOKEN_HEADER = "X-CSRF-Token"
_SECURE, _PLAIN = "__Host-tidegate", "tidegate"
_LENGTH = 43  # characters of `keys.random_text`
# What reads: nothing is changed by it, so it needs no token.
READS = frozenset({"GET", "HEAD", "OPTIONS"})
# Set by browsers alone: who asks is this page itself, or the person (an address typed in).
_OURS = frozenset({"same-origin", "none"})


def read(scope: Scope, headers: Headers) -> str | None:
    """The session's secret, if there is a cookie of ours. Of the other kind of connection none is
    taken: what was set without https could come from another machine."""
    given = headers.get("cookie")
    if given is None:
        return None
    name = _name(scope)
    for part in given.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name and len(value) == _LENGTH:
            return value
    return None


def made(scope: Scope, secret: str) -> str:
    """The Set-Cookie of a new session."""
    return _cookie(scope, secret, LIFETIME)


def ended(scope: Scope) -> str:
    """The Set-Cookie that takes the session away."""
    return _cookie(scope, "", 0)


def possible(scope: Scope, headers: Headers, proxies: Sequence[Network]) -> bool:
    """Whether a session may begin on this connection: https, or a browser on this machine. Of one
    of these networks it may be, too, if it asked for localhost: a container's published port."""
    if scope["scheme"] == "https":
        return True
    client = scope.get("client")
    here = client is None or is_loopback(client[0]) or _within(client[0], proxies)
    return here and is_loopback(host_of(headers))


def _within(address: str, networks: Sequence[Network]) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)


def host_of(headers: Headers) -> str:
    """The host that was asked, without its port."""
    host = headers.get("host", "")
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host


def token(secret: str) -> str:
    """What a change must be sent with, beside the cookie: made of it, so that no place is needed to
    keep it, and nothing of the cookie is told by it."""
    return hmac.digest(secret.encode(), b"csrf", "sha256").hex()


def check_site(method: str, headers: Headers) -> None:
    """Refuses what a page of another site makes a browser send. Raises Failed."""
    site = headers.get("sec-fetch-site")
    if site is None:  # no browser, or one of before 2023
        return
    if site == "cross-site" or (method not in READS and site not in _OURS):
        raise Failed(kinds.FORBIDDEN, "a page of another site may not ask this")


def check_token(method: str, headers: Headers, secret: str) -> None:
    """Refuses a change without the session's token. Raises Failed."""
    if method in READS:
        return
    given = headers.get(TOKEN_HEADER, "")
    if not hmac.compare_digest(given.encode(), token(secret).encode()):
        raise Failed(
            kinds.FORBIDDEN, f"{TOKEN_HEADER} must be the session's: GET /v1/session tells it"
        )


def _name(scope: Scope) -> str:
    return _SECURE if scope["scheme"] == "https" else _PLAIN


def _cookie(scope: Scope, value: str, seconds: int) -> str:
    secure = "; Secure" if scope["scheme"] == "https" else ""
    return f"{_name(scope)}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"

"""Who calls, and what is answered to who is not known."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from api import kinds
from api.problems import Failed
from tidegate.access import Role, Scope, scopes_of


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who is known."""

    actor: str  # for the audit
    name: str  # to be shown
    scopes: frozenset[Scope]
    role: str | None = None  # None: of a token, which may have several
    key_id: UUID | None = None
    expires_at: datetime | None = None  # of the key, session or token; aware, UTC
    session_hash: bytes | None = field(default=None, repr=False)  # came by a cookie


# Where authentication is off.
ANYBODY = Caller("anonymous", "anonymous", scopes_of(Role.ADMIN), Role.ADMIN)


def unknown(detail: str) -> Failed:
    """Nobody is known. `WWW-Authenticate` says what would be taken (RFC 6750)."""
    headers = {"WWW-Authenticate": 'Bearer realm="tidegate"'}
    return Failed(kinds.UNAUTHENTICATED, detail, headers=headers)


def too_many(seconds: float) -> Failed:
    """Too many requests, with the whole seconds to wait."""
    wait = max(1, -int(-seconds // 1))
    detail = f"too many requests: try again in {wait} s"
    return Failed(kinds.TOO_MANY, detail, headers={"Retry-After": str(wait)})

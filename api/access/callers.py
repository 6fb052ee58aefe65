"""Who calls, and why somebody is not let in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

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


class Refused(Exception):
    """A request that is not let in; `status` is what it is answered with."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def unknown(detail: str) -> Refused:
    """401. `WWW-Authenticate` says what would be taken (RFC 6750)."""
    return Refused(401, detail, headers={"WWW-Authenticate": 'Bearer realm="tidegate"'})


def too_many(seconds: float) -> Refused:
    """429, with the whole seconds to wait."""
    wait = max(1, -int(-seconds // 1))
    return Refused(
        429, f"too many requests: try again in {wait} s", headers={"Retry-After": str(wait)}
    )

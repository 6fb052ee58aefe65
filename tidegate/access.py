"""Who may do what: scopes, each a thing that somebody may do, and roles, each a set of them.

Which route needs which scope is in `api/access/policy.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Scope(StrEnum):
    """One thing that somebody may do. Names are stored with keys: add, never rename."""

    ALERTS_READ = "alerts:read"
    ALERTS_WRITE = "alerts:write"
    AUDIT_READ = "audit:read"
    CARDS_READ = "cards:read"
    CASES_READ = "cases:read"
    CASES_WRITE = "cases:write"
    DEAD_LETTERS_READ = "dead_letters:read"
    DEAD_LETTERS_REPLAY = "dead_letters:replay"
    DECISIONS_LOOKUP = "decisions:lookup"  # of a transaction whose id is known
    DECISIONS_READ = "decisions:read"
    KEYS_ADMIN = "keys:admin"
    LABELS_WRITE = "labels:write"
    MODELS_PROMOTE = "models:promote"
    MODELS_READ = "models:read"
    STATS_READ = "stats:read"
    TERMINALS_READ = "terminals:read"
    TRANSACTIONS_WRITE = "transactions:write"
    WEBHOOKS_ADMIN = "webhooks:admin"


class Role(StrEnum):
    """What a key is for. Names are stored with keys: add, never rename."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    ADMIN = "admin"
    INGEST = "ingest"


_VIEWER = frozenset(
    {
        Scope.ALERTS_READ,
        Scope.CARDS_READ,
        Scope.CASES_READ,
        Scope.DEAD_LETTERS_READ,
        Scope.DECISIONS_LOOKUP,
        Scope.DECISIONS_READ,
        Scope.MODELS_READ,
        Scope.STATS_READ,
        Scope.TERMINALS_READ,
    }
)

ROLES: dict[Role, frozenset[Scope]] = {
    Role.VIEWER: _VIEWER,
    Role.ANALYST: _VIEWER | {Scope.ALERTS_WRITE, Scope.CASES_WRITE, Scope.LABELS_WRITE},
    Role.ADMIN: frozenset(Scope),
    Role.INGEST: frozenset({Scope.TRANSACTIONS_WRITE, Scope.LABELS_WRITE, Scope.DECISIONS_LOOKUP}),
}

_BY_NAME: dict[str, frozenset[Scope]] = {role.value: scopes for role, scopes in ROLES.items()}


def scopes_of(role: str, narrower: Iterable[str] | None = None) -> frozenset[Scope]:
    """What a role may do, or just those of `narrower` that it may. A name that this release does
    not know, of a role or a scope, allows nothing."""
    allowed: frozenset[Scope] = _BY_NAME.get(role, frozenset())
    if narrower is None:
        return allowed
    names = set(narrower)
    if Scope.DECISIONS_READ in names:  # who may list them all may look one up
        names.add(Scope.DECISIONS_LOOKUP)
    return frozenset(scope for scope in allowed if scope in names)

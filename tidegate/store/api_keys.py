"""API keys: made, listed, revoked and looked up; of a key only the hash of its secret is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from psycopg import sql
from psycopg.rows import class_row

from tidegate.keys import Key
from tidegate.store.connection import Conn

# Arbitrary, but it must never change: see `make_first`.
LOCK = 7_421_907_310_558_206

COLUMNS = sql.SQL(
    "key_id, prefix, name, role, scopes, created_at, created_by, expires_at, revoked_at,"
    " revoked_by, last_used_at"
)

MAKE = sql.SQL(
    """
WITH written AS (
    INSERT INTO api_key (key_id, prefix, key_hash, name, role, scopes, created_by, expires_at)
    VALUES (
        %(key_id)s, %(prefix)s, %(key_hash)s, %(name)s, %(role)s, %(scopes)s::text[], %(actor)s,
        now() + %(days)s::integer * interval '1 day'
    )
    RETURNING {columns}
), audited AS (
    INSERT INTO audit (actor, action, subject, after)
    SELECT created_by, 'key.create', prefix, jsonb_build_object(
        'name', name, 'role', role, 'scopes', scopes, 'expires_at', expires_at
    )
    FROM written
)
SELECT {columns} FROM written
"""
).format(columns=COLUMNS)

# One that is revoked stays as it is: when, and by whom.
REVOKE = sql.SQL(
    """
WITH written AS (
    UPDATE api_key SET revoked_at = now(), revoked_by = %(actor)s
    WHERE prefix = %(prefix)s AND revoked_at IS NULL
    RETURNING {columns}
), audited AS (
    INSERT INTO audit (actor, action, subject, after)
    SELECT revoked_by, 'key.revoke', prefix, jsonb_build_object('name', name) FROM written
)
SELECT {columns} FROM written
"""
).format(columns=COLUMNS)

LIST = sql.SQL(
    """
    SELECT {columns} FROM api_key
    WHERE %(at)s::timestamptz IS NULL OR (created_at, prefix) > (%(at)s, %(after)s::text)
    ORDER BY created_at, prefix LIMIT %(limit)s
    """
).format(columns=COLUMNS)

BY_PREFIX = sql.SQL("SELECT {columns} FROM api_key WHERE prefix = %(prefix)s").format(
    columns=COLUMNS
)

FIND = """
SELECT key_id, prefix, key_hash, name, role, scopes, expires_at FROM api_key
WHERE prefix = %(prefix)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""

TAKE_LOCK = "SELECT pg_advisory_xact_lock(%(lock)s)"
ANY = "SELECT EXISTS (SELECT FROM api_key)"

USED = """
UPDATE api_key SET last_used_at = used.at
FROM unnest(%(key_ids)s::uuid[], %(times)s::timestamptz[]) AS used (key_id, at)
WHERE api_key.key_id = used.key_id
    AND (api_key.last_used_at IS NULL OR api_key.last_used_at < used.at)
"""


class NoSuchKey(LookupError):
    """There is no key of that prefix."""

    def __init__(self, prefix: str) -> None:
        super().__init__(f"there is no key {prefix[:40]!r}: tidegate keys list shows them all")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is listed."""

    key_id: UUID
    prefix: str
    name: str
    role: str
    scopes: list[str] | None  # None: all of the role's
    created_at: datetime  # times aware, UTC
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_at: datetime | None  # some minutes old


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key that is neither revoked nor expired, with the hash that a secret must have."""

    key_id: UUID
    prefix: str
    key_hash: bytes
    name: str
    role: str
    scopes: list[str] | None
    expires_at: datetime | None


def make(
    conn: Conn,
    key: Key,
    *,
    name: str,
    role: str,
    actor: str,
    scopes: list[str] | None = None,
    days: int | None = None,
) -> ApiKey:
    """Writes a new key and the audit. `scopes` narrow the role; after `days` it expires."""
    values = {
        "key_id": uuid4(),
        "prefix": key.prefix,
        "key_hash": key.hash,
        "name": name,
        "role": role,
        "scopes": scopes,
        "actor": actor,
        "days": days,
    }
    with conn.cursor(row_factory=class_row(ApiKey)) as cursor:
        written = cursor.execute(MAKE, values).fetchone()
    assert written is not None
    return written


def make_first(conn: Conn, key: Key, *, name: str, role: str, actor: str) -> ApiKey | None:
    """Writes this key if there is none at all, revoked ones counted too; else returns None.

    Of several who start at once, one writes: the others wait for its transaction and then see the
    key. The isolation must be READ COMMITTED.
    """
    if has_any(conn):  # nearly always, and no lock is needed to see it
        return None
    conn.execute(TAKE_LOCK, {"lock": LOCK})
    if has_any(conn):
        return None
    return make(conn, key, name=name, role=role, actor=actor)


def has_any(conn: Conn) -> bool:
    """Whether a key was ever made."""
    (found,) = conn.execute(ANY).fetchone() or (False,)
    return bool(found)


def revoke(conn: Conn, prefix: str, *, actor: str) -> ApiKey:
    """Ends a key for ever, and writes the audit; one that is revoked stays as it was. Raises
    NoSuchKey."""
    values = {"prefix": prefix, "actor": actor}
    with conn.cursor(row_factory=class_row(ApiKey)) as cursor:
        written = cursor.execute(REVOKE, values).fetchone()
        found = written or cursor.execute(BY_PREFIX, values).fetchone()
    if found is None:
        raise NoSuchKey(prefix)
    return found


def listed(conn: Conn, *, limit: int, after: str | None = None) -> list[ApiKey]:
    """Keys, oldest first, with those that were revoked or have expired; `after` is the prefix of
    the last one of the page before. Raises NoSuchKey."""
    with conn.cursor(row_factory=class_row(ApiKey)) as cursor:
        last = None if after is None else cursor.execute(BY_PREFIX, {"prefix": after}).fetchone()
        if after is not None and last is None:
            raise NoSuchKey(after)
        at = None if last is None else last.created_at
        return cursor.execute(LIST, {"limit": limit, "after": after, "at": at}).fetchall()


def find(conn: Conn, prefix: str) -> FoundKey | None:
    """The key of this prefix, if it may be used now. Whoever asks compares the hash."""
    with conn.cursor(row_factory=class_row(FoundKey)) as cursor:
        return cursor.execute(FIND, {"prefix": prefix}).fetchone()


def used(conn: Conn, uses: Mapping[UUID, datetime]) -> None:
    """Writes when keys were last used."""
    ids = sorted(uses)
    conn.execute(USED, {"key_ids": ids, "times": [uses[key_id] for key_id in ids]})

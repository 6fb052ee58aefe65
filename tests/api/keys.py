"""Keys for tests."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection

from tidegate import keys
from tidegate.access import Role
from tidegate.keys import Key
from tidegate.settings import Access

OPEN = Access(auth=False)  # everybody is let in

# The same everywhere, so that a page can have it before there is a server.
_ADMIN = Key("testadmin", "test" * 10 + "key")
ADMIN_KEY = _ADMIN.text
ADMIN = "key:testadmin (tests)"  # how the audit names it

PUT = """
INSERT INTO api_key (
    key_id, prefix, key_hash, name, role, scopes, created_by, expires_at, revoked_at
)
VALUES (
    gen_random_uuid(), %(prefix)s, %(key_hash)s, %(name)s, %(role)s, %(scopes)s, 'tests',
    now() + %(expires)s::interval, now() + %(revoked)s::interval
)
ON CONFLICT DO NOTHING
"""


def put_key(
    conn: Connection[Any],
    role: str = Role.VIEWER,
    *,
    key: Key | None = None,
    name: str = "tests",
    scopes: list[str] | None = None,
    expires: str | None = None,  # from now on, as PostgreSQL writes intervals
    revoked: str | None = None,
) -> str:
    """Stores a key without an audit; gives its text."""
    key = key or keys.made()
    values = {
        "prefix": key.prefix,
        "key_hash": key.hash,
        "name": name,
        "role": role,
        "scopes": scopes,
        "expires": expires,
        "revoked": revoked,
    }
    conn.execute(PUT, values)
    conn.commit()
    return key.text


def put_admin_key(url: str) -> None:
    """Stores ADMIN_KEY, whatever role the URL's sessions take."""
    with psycopg.connect(url, prepare_threshold=None) as conn:
        conn.execute("SET ROLE NONE")
        put_key(conn, Role.ADMIN, key=_ADMIN)


def bearer(key: str) -> dict[str, str]:
    """The header of a key."""
    return {"Authorization": f"Bearer {key}"}

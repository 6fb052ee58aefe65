"""Sessions of the pages: of each cookie only its hash. A session ends with its key, 12 hours after
it began, and an hour after it was last used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from tidegate.store.connection import Conn

# What is over is taken away when another one begins, at most so many at a time.
BEGIN = """
WITH over AS (
    DELETE FROM page_session WHERE session_hash = ANY(ARRAY(
        SELECT session_hash FROM page_session WHERE expires_at < now() LIMIT 100
        FOR UPDATE SKIP LOCKED
    ))
), written AS (
    INSERT INTO page_session (session_hash, key_id, expires_at)
    VALUES (%(session_hash)s, %(key_id)s, now() + interval '12 hours')
    RETURNING key_id
)
INSERT INTO audit (actor, action, subject)
SELECT %(actor)s, 'session.begin', api_key.prefix
FROM written JOIN api_key USING (key_id)
"""

FIND = """
SELECT page_session.session_hash, page_session.expires_at, api_key.key_id, api_key.prefix,
    api_key.name, api_key.role, api_key.scopes
FROM page_session JOIN api_key USING (key_id)
WHERE page_session.session_hash = %(session_hash)s
    AND page_session.expires_at > now()
    AND page_session.used_at > now() - interval '1 hour'
    AND api_key.revoked_at IS NULL
    AND (api_key.expires_at IS NULL OR api_key.expires_at > now())
"""

END = """
WITH gone AS (
    DELETE FROM page_session WHERE session_hash = %(session_hash)s RETURNING key_id
)
INSERT INTO audit (actor, action, subject)
SELECT %(actor)s, 'session.end', api_key.prefix FROM gone JOIN api_key USING (key_id)
"""

USED = """
UPDATE page_session SET used_at = used.at
FROM unnest(%(hashes)s::bytea[], %(times)s::timestamptz[]) AS used (session_hash, at)
WHERE page_session.session_hash = used.session_hash AND page_session.used_at < used.at
"""


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is not over, and whose key it is."""

    session_hash: bytes
    expires_at: datetime  # aware, UTC
    key_id: UUID
    prefix: str
    name: str
    role: str
    scopes: list[str] | None


def begin(conn: Conn, session_hash: bytes, key_id: UUID, *, actor: str) -> None:
    """Writes a new session of a key, and the audit."""
    conn.execute(BEGIN, {"session_hash": session_hash, "key_id": key_id, "actor": actor})


def find(conn: Conn, session_hash: bytes) -> Session | None:
    """The session of a cookie with this hash, unless it is over or its key may not be used."""
    with conn.cursor(row_factory=class_row(Session)) as cursor:
        return cursor.execute(FIND, {"session_hash": session_hash}).fetchone()


def end(conn: Conn, session_hash: bytes, *, actor: str) -> None:
    """Ends a session, if it is there, and writes the audit."""
    conn.execute(END, {"session_hash": session_hash, "actor": actor})


def used(conn: Conn, uses: Mapping[bytes, datetime]) -> None:
    """Writes when sessions were last used."""
    hashes = sorted(uses)
    conn.execute(USED, {"hashes": hashes, "times": [uses[each] for each in hashes]})

"""Keys and the sessions that begin with them, on every kind of database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tidegate import keys
from tidegate.store import api_keys, sessions
from tidegate.store.api_keys import ApiKey
from tidegate.store.connection import Conn

COOKIE = bytes(range(32))


@pytest.fixture
def conn(everywhere: Conn) -> Conn:
    return everywhere


def made(conn: Conn, name: str = "ann", days: int | None = None) -> tuple[keys.Key, ApiKey]:
    key = keys.made()
    return key, api_keys.make(conn, key, name=name, role="analyst", actor="test", days=days)


def test_a_key_is_found_until_it_is_revoked(conn: Conn) -> None:
    assert not api_keys.has_any(conn)
    key, written = made(conn, days=3)
    assert api_keys.has_any(conn)
    found = api_keys.find(conn, key.prefix)
    assert found is not None
    assert (found.key_id, found.key_hash) == (written.key_id, key.hash)
    ended = api_keys.revoke(conn, key.prefix, actor="test")
    assert ended.revoked_by == "test"
    assert api_keys.find(conn, key.prefix) is None
    with pytest.raises(api_keys.NoSuchKey, match="nobodys"):
        api_keys.revoke(conn, "nobodys", actor="test")


def test_pages_of_keys_have_each_once(conn: Conn) -> None:
    names = [f"key-{number}" for number in range(7)]
    for name in names:
        made(conn, name)
    conn.execute("UPDATE api_key SET created_at = '2026-01-01'")  # in one moment, by prefix
    seen: list[ApiKey] = []
    while page := api_keys.listed(conn, limit=3, after=seen[-1].prefix if seen else None):
        seen += page
    assert sorted(key.name for key in seen) == names
    assert [key.prefix for key in seen] == sorted(key.prefix for key in seen)
    with pytest.raises(api_keys.NoSuchKey):
        api_keys.listed(conn, limit=3, after="nobodys")


def test_a_key_says_when_it_was_last_used(conn: Conn) -> None:
    _, written = made(conn)
    at = datetime.now(UTC) + timedelta(minutes=1)
    api_keys.used(conn, {written.key_id: at})
    api_keys.used(conn, {written.key_id: at - timedelta(minutes=5)})  # told late
    (key,) = api_keys.listed(conn, limit=2)
    assert key.last_used_at == at


def test_a_session_ends_with_its_key_or_by_itself(conn: Conn) -> None:
    key, written = made(conn)
    sessions.begin(conn, COOKIE, written.key_id, actor="test")
    found = sessions.find(conn, COOKIE)
    assert found is not None
    assert (found.prefix, found.role) == (key.prefix, "analyst")
    sessions.end(conn, COOKIE, actor="test")
    assert sessions.find(conn, COOKIE) is None
    sessions.begin(conn, COOKIE, written.key_id, actor="test")
    conn.execute("UPDATE page_session SET used_at = now() - interval '2 hours'")
    assert sessions.find(conn, COOKIE) is None
    sessions.used(conn, {COOKIE: datetime.now(UTC)})
    assert sessions.find(conn, COOKIE) is not None
    api_keys.revoke(conn, key.prefix, actor="test")
    assert sessions.find(conn, COOKIE) is None

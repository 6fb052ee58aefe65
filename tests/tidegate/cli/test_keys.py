"""Keys made and revoked from the command line, on a real database."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from subprocess import CompletedProcess

import pytest

from tests.tidegate.cli.conftest import Command
from tidegate import keys
from tidegate.store import api_keys
from tidegate.store.connection import Conn

Keys = Callable[..., CompletedProcess[str]]


@pytest.fixture
def run(tidegate: Command, database: str) -> Keys:
    """`tidegate keys` with these arguments."""
    return lambda *arguments: tidegate(
        "keys", *arguments, DATABASE_URL=database, LOG_LEVEL="warning"
    )


def made(run: Keys, *arguments: str) -> keys.Key:
    told = run("create", *arguments)
    assert told.returncode == 0, told.stderr
    key = keys.read(told.stdout.removesuffix("\n"))
    assert key is not None
    return key


def test_a_key_is_printed_alone_and_only_its_hash_is_stored(run: Keys, conn: Conn) -> None:
    told = run("create", "--name", "ann", "--role", "analyst")
    key = keys.read(told.stdout.removesuffix("\n"))
    assert key is not None
    assert key.prefix in told.stderr
    assert key.secret not in told.stderr
    found = api_keys.find(conn, key.prefix)
    assert found is not None
    assert (found.key_hash, found.role, found.scopes) == (key.hash, "analyst", None)
    (rows,) = conn.execute("SELECT json_agg(k)::text || json_agg(a)::text FROM api_key k, audit a")
    assert key.secret not in rows[0]
    assert run("list").stdout.count(key.prefix) == 1
    assert key.secret not in run("list", "--json").stdout


def test_making_and_revoking_is_audited_with_who_did_it(run: Keys, conn: Conn) -> None:
    key = made(run, "--name", "ann", "--role", "viewer", "--scope", "alerts:read")
    told = run("revoke", key.prefix)
    assert told.returncode == 0
    assert f"{key.prefix} (ann) is revoked" in told.stdout
    assert run("revoke", key.prefix).returncode == 0  # as it was
    rows = conn.execute(
        "SELECT actor, action, subject, after ->> 'name' FROM audit ORDER BY audit_id"
    ).fetchall()
    actor = f"cli:{getpass.getuser()}"
    assert rows == [
        (actor, "key.create", key.prefix, "ann"),
        (actor, "key.revoke", key.prefix, "ann"),
    ]
    assert api_keys.find(conn, key.prefix) is None
    (line,) = run("list", "--json").stdout.splitlines()
    listed = json.loads(line)
    assert listed["scopes"] == ["alerts:read"]
    assert (listed["created_by"], listed["revoked_by"]) == (actor, actor)


def test_a_key_ends_after_its_days(run: Keys, conn: Conn) -> None:
    key = made(run, "--name", "ci", "--role", "ingest", "--expires-days", "30")
    found = api_keys.find(conn, key.prefix)
    assert found is not None
    assert found.expires_at is not None
    left = found.expires_at - datetime.now(UTC)
    assert timedelta(days=29.9) < left < timedelta(days=30.1)
    conn.execute("UPDATE api_key SET expires_at = now() - interval '1 second'")
    conn.commit()
    assert api_keys.find(conn, key.prefix) is None
    assert "expired" in run("list").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--name", "x", "--role", "owner"], "owner"),
        (["--name", "x", "--role", "viewer", "--scope", "all"], "all"),
        (["--name", "x", "--role", "viewer", "--scope", "keys:admin"], "viewer may"),
        (["--name", "", "--role", "viewer"], "printable"),
        (["--name", "x\x1b[2J", "--role", "viewer"], "printable"),
        (["--name", "x", "--role", "viewer", "--expires-days", "0"], "expires-days"),
        (["--role", "viewer"], "--name"),
        (["--name", "x"], "--role"),
    ],
)
def test_what_makes_no_key_prints_none(
    run: Keys, conn: Conn, arguments: list[str], said: str
) -> None:
    told = run("create", *arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert said in told.stderr
    assert not api_keys.has_any(conn)


def test_a_key_that_is_not_there_is_said_and_a_whole_one_not_repeated(run: Keys) -> None:
    told = run("revoke", "nothing")
    assert (told.returncode, told.stdout) == (1, "")
    assert "there is no key 'nothing'" in told.stderr
    key = keys.made()
    told = run("revoke", key.text)
    assert told.returncode == 2
    assert key.secret not in told.stderr
    assert run("list").stderr.startswith("no keys")


def test_help_names_every_command(tidegate: Command) -> None:
    told = tidegate("keys", "--help").stdout
    assert all(f"\n  {command} " in told for command in ("create", "list", "revoke"))

"""Fresh databases of a server for tests: built once by the real migrations, then copied."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

import migrations

# A file system in memory. For each new file, ext4 looks at all that were deleted of late, and a
# database has three hundred files: making one for each test took 110 to 450 ms, it takes 38 here.
MEMORY = Path("/dev/shm")
ROOM = 4 << 30  # bytes that are free there, or the disk is used

# The server is gone after the tests: nothing has to reach a disk, and old log is in the way. Events
# wait for the transaction of a vacuum that comes by itself, and it makes plans and counts others.
HURRY = """
ALTER SYSTEM SET fsync = off;
ALTER SYSTEM SET max_wal_size = '256MB';
ALTER SYSTEM SET autovacuum = off;
SELECT pg_reload_conf();
"""

END_SESSIONS = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %(name)s
"""


def in_memory() -> Path | None:
    """Where the databases of tests are made soonest; None: where temporary files are."""
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return None
    there = os.statvfs(MEMORY)
    return MEMORY if there.f_bavail * there.f_frsize >= ROOM else None


def hurry(server: str) -> None:
    """Lets a server that only tests use forget all when the machine stops."""
    with psycopg.connect(server, autocommit=True) as conn:
        for statement in HURRY.strip().splitlines():
            conn.execute(statement)


@contextmanager
def template(server: str) -> Iterator[str]:
    """Name of a database at the newest schema that `fresh` may copy."""
    with _database(server, "template", None) as name:
        migrations.upgrade(at(server, name))
        # A copy needs it empty, and TimescaleDB's scheduler comes back wherever it may.
        _execute(server, "ALTER DATABASE {} WITH ALLOW_CONNECTIONS false", name)
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute(END_SESSIONS, {"name": name})
        yield name


@contextmanager
def fresh(server: str, of: str | None) -> Iterator[str]:
    """URL of a copy of the template, or of a database without any table."""
    with _database(server, "test", of) as name:
        yield at(server, name)


def at(url: str, name: str) -> str:
    """The URL with another database. A URL stays a URL: SQLAlchemy and users read it, too."""
    parts = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    return _as_url(parts | {"dbname": name})


@contextmanager
def _database(server: str, prefix: str, of: str | None) -> Iterator[str]:
    name = f"{prefix}_{uuid4().hex}"
    # template0 where none is given: the embedded template1 is as empty, but a given server's may
    # have TimescaleDB in it.
    _execute(server, "CREATE DATABASE {} TEMPLATE {}", name, of or "template0")
    try:
        yield name
    finally:
        _execute(server, "DROP DATABASE {} WITH (FORCE)", name)


def _execute(server: str, statement: str, *names: str) -> None:
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _as_url(parts: dict[str, str]) -> str:
    user = quote(parts.pop("user", "postgres"), safe="")
    if password := parts.pop("password", ""):
        user = f"{user}:{quote(password, safe='')}"
    name = quote(parts.pop("dbname"), safe="")
    return f"postgresql://{user}@/{name}?{urlencode(parts)}"

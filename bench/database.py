"""An embedded PostgreSQL for the benchmarks, and fresh databases in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

import migrations
from tidegate import embedded


@contextmanager
def server() -> Iterator[str]:
    """URL of a server of our own, gone with all its data at the end."""
    # Directly in the temporary directory of the system, which the server's OS user can enter.
    directory = Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
    try:
        with embedded.start(directory) as running:
            yield running.url
    finally:
        shutil.rmtree(directory)


@contextmanager
def fresh(server_url: str) -> Iterator[str]:
    """URL of an empty database at the newest schema."""
    name = f"bench_{uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            url = server_url.replace(f"@/{embedded.DATABASE}?", f"@/{name}?")
            migrations.upgrade(url)
            yield url
        finally:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

"""The database that a command works on: the one that is set, else the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

import migrations
from tidegate import embedded
from tidegate.settings import Settings, masked_url
from tidegate.store import connection, release
from tidegate.store.connection import Conn
from tidegate.store.release import Release

# For who only looks: a migration under way is not waited for.
IMPATIENT = "SET lock_timeout = '2s'"


class SchemaMismatch(RuntimeError):
    """The database's schema is none that this version works with."""


def this_release() -> Release:
    """What this version knows of the schema."""
    return Release(migrations.head(), migrations.known())


def fitting(conn: Conn, url: str) -> str:
    """The database's revision. Raises SchemaMismatch where this version does not work with it."""
    found = release.schema(conn)
    wrong = release.refusal(this_release(), found)
    if wrong is not None:
        raise SchemaMismatch(f"the schema of {masked_url(url)} {wrong}")
    assert found.revision is not None
    return found.revision


def embedded_home(settings: Settings) -> Path:
    """Where the embedded database has its files, made or not."""
    return settings.storage.data_dir / "postgresql"


@dataclass(frozen=True)
class Database:
    """A database whose schema this version works with."""

    url: str
    revision: str


@contextmanager
def migrated(settings: Settings, directory: Path | None = None) -> Iterator[Database]:
    """The database, brought to the newest schema that this version knows; one that is at a newer
    one already is left so. directory: of the embedded one, if it is that. Raises SchemaMismatch."""
    with opened(settings, directory) as url:
        with connection.connect(url, application_name="tidegate-check") as conn:
            found = release.schema(conn).revision
        if found is None or found in migrations.known():
            # With the settings of ours, so that its lock goes with a machine that loses its power.
            migrations.upgrade(connection.conninfo(url, application_name="tidegate-migrate"))
        yield Database(url, _revision(url))


@contextmanager
def usable(settings: Settings) -> Iterator[Database]:
    """The database as it is, whose schema must be one that this version works with; the embedded
    one, which nobody else looks after, is brought to the newest. Raises SchemaMismatch."""
    if settings.storage.database_url is None:
        with migrated(settings) as database:
            yield database
        return
    with opened(settings) as url:
        yield Database(url, _revision(url))


@contextmanager
def opened(settings: Settings, directory: Path | None = None) -> Iterator[str]:
    """URL of the database as it is, whatever its schema; the embedded one runs meanwhile."""
    if settings.storage.database_url is not None:
        yield settings.storage.database_url
        return
    home = directory or embedded_home(settings)
    typer.echo(f"database: embedded PostgreSQL, its files in {home}", err=True)
    with embedded.start(home) as server:
        yield server.url


def _revision(url: str) -> str:
    with connection.connect(url, application_name="tidegate-check") as conn:
        return fitting(conn, url)

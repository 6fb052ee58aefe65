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

# For who only looks: a migration under way is not waited for.
IMPATIENT = "SET lock_timeout = '2s'"


class SchemaMismatch(RuntimeError):
    """The database's schema is not the one that this version works with."""


def mismatch(url: str, revision: str | None) -> SchemaMismatch:
    """What to raise of a database at this revision, which is not the newest."""
    return SchemaMismatch(
        f"the schema of {masked_url(url)} is at {revision or 'no revision'}, this version "
        f"works with {migrations.head()}: run tidegate migrate"
    )


def embedded_home(settings: Settings) -> Path:
    """Where the embedded database has its files, made or not."""
    return settings.storage.data_dir / "postgresql"


@dataclass(frozen=True)
class Database:
    """A database at the newest schema."""

    url: str
    revision: str


@contextmanager
def migrated(settings: Settings, directory: Path | None = None) -> Iterator[Database]:
    """The database, brought to the newest schema. directory: of the embedded one, if it is that."""
    with opened(settings, directory) as url:
        migrations.upgrade(url)
        yield Database(url, migrations.head())


@contextmanager
def at_head(settings: Settings) -> Iterator[Database]:
    """The database as it is, which must be at the newest schema; the embedded one, which nobody
    else looks after, is brought there. Raises SchemaMismatch."""
    if settings.storage.database_url is None:
        with migrated(settings) as database:
            yield database
        return
    with opened(settings) as url:
        revision = migrations.current(url)
        if revision != migrations.head():
            raise mismatch(url, revision)
        yield Database(url, revision)


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

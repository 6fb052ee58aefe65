"""Whether a release works with the schema that a database is at.

A new release's migrations only add while older ones may still run beside it (expand); what older
ones use is taken away by a later release (contract), which says from which release on its schema
works: in `schema_support`, by the newest revision that this release knew.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import LiteralString

from tidegate.store.connection import Conn

_THERE = "SELECT to_regclass('alembic_version') IS NOT NULL"
_REVISION = "SELECT version_num FROM alembic_version"
_SUPPORTED = "SELECT to_regclass('schema_support') IS NOT NULL"
_WORKS_FROM = "SELECT works_from FROM schema_support"


@dataclass(frozen=True, slots=True)
class Release:
    """What a release knows of the schema's history."""

    newest: str  # its own newest revision
    known: Collection[str]  # this one and all before it


@dataclass(frozen=True, slots=True)
class Schema:
    """Where a database is in it."""

    revision: str | None  # None where no migration ever ran
    works_from: str | None  # None before 0015


def schema(conn: Conn) -> Schema:
    """Where the database is."""
    revision = _one(conn, _REVISION) if _one(conn, _THERE) else None
    return Schema(revision, _one(conn, _WORKS_FROM) if _one(conn, _SUPPORTED) else None)


def refusal(release: Release, found: Schema) -> str | None:
    """Why the release cannot work with the schema, as what follows "the schema"; None if it can."""
    if found.revision == release.newest:
        return None
    works = f"is at {found.revision or 'no revision'}, this version works with {release.newest}"
    if found.revision is None or found.revision in release.known:
        return f"{works}: run tidegate migrate"
    if found.works_from in release.known:
        return None  # newer, and nothing is gone that this release uses
    return f"{works} and is too old for it: install the newer version"


def _one(conn: Conn, query: LiteralString) -> str | None:
    row = conn.execute(query).fetchone()
    return row[0] if row else None

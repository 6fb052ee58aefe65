"""What every handler may need, kept with the application."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from psycopg.errors import InsufficientPrivilege
from psycopg_pool import ConnectionPool

from api.figures import Figures
from tidegate.settings import Kafka
from tidegate.store.connection import Conn

ACTOR = "api"  # for the audit: nobody says yet who calls

# Sessions read only unless their transaction says this, before anything else.
_WRITE = "SET TRANSACTION READ WRITE"


@dataclass(frozen=True, slots=True)
class Context:
    """The application's pool and what it was told when it was made."""

    pool: ConnectionPool[Conn]
    schema_revision: str | None
    feature_names: tuple[str, ...]
    figures: Figures
    kafka: Kafka | None
    replays: BoundedSemaphore  # for each replay of a dead letter that may go on at a time
    exports: BoundedSemaphore  # for each export that may go on at a time

    @contextmanager
    def writing(self) -> Iterator[Conn]:
        """A connection in a transaction that may write, committed at the end; the only way to
        change anything from here. Raises HTTPException where the database lets the API only
        read."""
        try:
            with self.pool.connection() as conn:
                conn.execute(_WRITE)
                yield conn
        except InsufficientPrivilege as ex:
            raise HTTPException(403, "the database role of the API may only read") from ex


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(_context)]

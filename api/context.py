"""What every handler may need, kept with the application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from psycopg_pool import ConnectionPool

from api.figures import Figures
from tidegate.store.connection import Conn


@dataclass(frozen=True, slots=True)
class Context:
    """The application's pool and what it was told when it was made."""

    pool: ConnectionPool[Conn]
    schema_revision: str | None
    feature_names: tuple[str, ...]
    figures: Figures


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(_context)]

"""What every handler may need, kept with the application."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request
from psycopg_pool import ConnectionPool

from api.figures import Figures
from api.intake.service import Intake
from api.streams import Streams
from api.targets import Targets
from tidegate.sealing import Sealer
from tidegate.settings import Kafka
from tidegate.store import connection
from tidegate.store.connection import Conn
from tidegate.store.release import Release


@dataclass(frozen=True, slots=True)
class Context:
    """The application's pool and what it was told when it was made."""

    pool: ConnectionPool[Conn]
    release: Release | None
    feature_names: tuple[str, ...]
    figures: Figures
    kafka: Kafka | None
    replays: BoundedSemaphore  # for each replay of a dead letter that may go on at a time
    intake: Intake
    takes: bool  # payments and labels
    streams: Streams
    catching_up: CapacityLimiter  # of streams that read what they missed
    sealer: Sealer  # of the secrets that webhooks are signed with
    targets: Targets  # where webhooks may be sent to
    wake: Callable[[], None]  # says that there is something to send
    exports: BoundedSemaphore  # for each export that may go on at a time

    @contextmanager
    def writing(self, timeout: float | None = None) -> Iterator[Conn]:
        """A connection in a transaction that may write, committed at the end; what changes
        anything goes this way, or by the intake. `timeout`: seconds to wait for it, the pool's own
        if None."""
        with self.pool.connection(timeout) as conn:
            connection.allow_writing(conn)
            yield conn


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(_context)]

"""Puts the API together: routes, pages, errors and the pool behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from threading import BoundedSemaphore
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from psycopg import conninfo

from api import pages, problems
from api.context import Context
from api.edge import Edge
from api.figures import Figures
from api.routes import (
    alerts,
    cases,
    dead_letters,
    decisions,
    dispositions,
    entities,
    exports,
    health,
    models,
    promotions,
    similar,
    stats,
)
from tidegate.settings import Kafka
from tidegate.store import connection

# The pool's waiting line: with more requests than this waiting, the next one is told at once.
MAX_WAITING = 64
# The pool gives a broken connection up after this many seconds; the next request starts anew.
RECONNECT_SECONDS = 10.0
# Each replay of a dead letter may hold a thread for as long as Kafka is waited for, and others want
# to read meanwhile; the next one is told to come later.
REPLAYS = 2
# Each export holds a connection of the pool for as long as its reader takes.
EXPORTS = 2


def create_app(
    database_url: str,
    *,
    schema_revision: str | None = None,
    feature_names: Sequence[str] = (),
    pool_size: int = 8,
    pool_timeout: float = 3.0,
    query_timeout: float = 10.0,
    kafka: Kafka | None = None,
) -> FastAPI:
    """The API as an ASGI application; nothing is opened before its lifespan starts.

    `schema_revision` is the revision that `/readyz` asks of the database (None asks only that
    some migration ran); `feature_names` name the stored features in their order; `pool_timeout`
    (seconds) bounds the wait for a connection and `query_timeout` (seconds) every statement; into
    `kafka` dead letters are replayed (None: nowhere, and the route says so). The
    application starts without its database, says so in `/readyz` and finds it when it comes.
    """
    pool = connection.pool(
        _read_only(database_url, query_timeout),
        application_name="tidegate-api",
        max_size=pool_size,
        timeout=pool_timeout,
    )
    pool.max_waiting = MAX_WAITING
    pool.reconnect_timeout = RECONNECT_SECONDS

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool.open(wait=False)
        try:
            yield
        finally:
            await to_thread.run_sync(pool.close)

    app = FastAPI(
        title="Tidegate",
        version="1",
        summary="Decisions, alerts and models of a payment stream.",
        lifespan=lifespan,
        # Their pages load scripts from elsewhere, which our content security policy refuses.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = Context(
        pool=pool,
        schema_revision=schema_revision,
        feature_names=tuple(feature_names),
        figures=Figures(),
        kafka=kafka,
        replays=BoundedSemaphore(REPLAYS),
        exports=BoundedSemaphore(EXPORTS),
    )
    # Each router carries its whole prefix: FastAPI's routes know nothing of one given here, and
    # the metrics are named after routes.
    # `exports` first: `/v1/alerts/export` is no alert's id.
    for routes in (exports, cases, dispositions, similar, entities):
        app.include_router(routes.router)
    for routes in (decisions, alerts, models, promotions, stats, dead_letters, health):
        app.include_router(routes.router)
    pages.add(app)
    problems.add(app)
    app.add_middleware(Edge)
    return app


def _read_only(url: str, query_timeout: float) -> str:
    """The URL with session settings: nothing here writes but in `Context.writing`, and nothing may
    run for ever."""
    given: dict[str, Any] = conninfo.conninfo_to_dict(url)
    options = (
        f"{given.get('options') or ''} -c default_transaction_read_only=on"
        f" -c statement_timeout={int(query_timeout * 1000)}"
    )
    timeout = given.get("connect_timeout") or 3
    return conninfo.make_conninfo(url, options=options.strip(), connect_timeout=timeout)

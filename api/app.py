"""Puts the API together: routes, pages, errors and the pool behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from threading import BoundedSemaphore
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI
from psycopg import conninfo
from starlette.middleware.gzip import GZipMiddleware

from api import declared, exporting, pages, problems
from api.access import described, first_key, guard, login
from api.access.credentials import Credentials
from api.access.guard import Guard
from api.access.login import Login
from api.access.uses import Uses
from api.context import Context
from api.dispatching import Sender, Sending
from api.edge import Edge
from api.figures import Figures
from api.following import following
from api.intake.service import Intake
from api.routes import (
    alert_stream,
    alerts,
    audit,
    cases,
    dead_letters,
    decisions,
    dispositions,
    entities,
    exports,
    health,
    intake,
    models,
    promotions,
    session,
    similar,
    stats,
    traffic,
    webhooks,
)
from api.streams import Live, Streams
from api.targets import Targets
from tidegate.sealing import Sealer
from tidegate.settings import Access, Kafka, Webhooks
from tidegate.store import connection
from tidegate.store.release import Release

# The pool's waiting line: with more requests than this waiting, the next one is told at once.
MAX_WAITING = 64
# The pool gives a broken connection up after this many seconds; the next request starts anew.
RECONNECT_SECONDS = 10.0
# Each replay of a dead letter may hold a thread for as long as Kafka is waited for, and others want
# to read meanwhile; the next one is told to come later.
REPLAYS = 2
# Each export holds a connection of the pool for as long as its reader takes.
EXPORTS = 2
# Streams that come back all at once read what they missed a few at a time.
CATCHING_UP = 2
# Answers of fewer bytes go as they are; half the work of the highest level packs nearly as well.
SMALLEST_PACKED, PACKED_LEVEL = 2_000, 5
# An event that waits for others to be packed with it comes late.
PACKED_ALREADY = ("text/event-stream", exporting.MEDIA_TYPES["parquet"], "image/png")


# Each router carries its whole prefix: FastAPI's routes know nothing of one given to the
# application, and the metrics are named after routes.
ROUTERS = (
    intake.router,
    decisions.router,
    # Before the route that takes any id:
    alert_stream.router,
    exports.router,
    alerts.router,
    cases.router,
    dispositions.router,
    similar.router,
    entities.router,
    models.router,
    promotions.router,
    stats.router,
    traffic.router,
    dead_letters.router,
    webhooks.router,
    audit.router,
    session.router,
    login.router,
    health.router,
)


def create_app(
    database_url: str,
    *,
    release: Release | None = None,
    feature_names: Sequence[str] = (),
    pool_size: int = 8,
    pool_timeout: float = 3.0,
    query_timeout: float = 10.0,
    kafka: Kafka | None = None,
    access: Access | None = None,
    tell_first_key: Callable[[str], None] | None = None,
    live: Live | None = None,
    hooks: Webhooks | None = None,
    sending: Sending | None = None,
    takes: bool = True,
) -> FastAPI:
    """The API as an ASGI application; nothing is opened before its lifespan starts.

    `release` says which schemas `/readyz` is content with (None asks only that some migration
    ran); `feature_names` name the stored features in their order; `pool_timeout`
    (seconds) bounds the wait for a connection and `query_timeout` (seconds) every statement; to
    `kafka` payments and labels are sent and dead letters replayed (None: payments and labels go to
    the inbox, dead letters nowhere, and the route says so). `access` says who is let in (None:
    whoever has a key); a database without any key gets one, if there is whom to tell it,
    `tell_first_key`. `live` is how alerts are streamed, `hooks` and `sending` whether and how
    webhooks are sent (None: another process sends them); `takes` whether payments and labels are
    taken, which is of no use where nothing reads them.

    The application starts without its database, says so in `/readyz` and finds it when it comes.
    Serve it with `api.server.Server`, which ends its streams.
    """
    hooks = hooks or Webhooks(deliver=False)
    access = access or Access()
    url = _read_only(database_url, query_timeout)
    pool = connection.pool(
        url,
        application_name="tidegate-api",
        max_size=pool_size,
        timeout=pool_timeout,
    )
    pool.max_waiting = MAX_WAITING
    pool.reconnect_timeout = RECONNECT_SECONDS
    who = Credentials(access, pool)
    sender = Sender()
    context = Context(
        pool=pool,
        release=release,
        feature_names=tuple(feature_names),
        figures=Figures(),
        kafka=kafka,
        replays=BoundedSemaphore(REPLAYS),
        exports=BoundedSemaphore(EXPORTS),
        intake=Intake(url, kafka, pool_timeout),
        takes=takes,
        streams=Streams(live or Live()),
        catching_up=CapacityLimiter(CATCHING_UP),
        sealer=Sealer(hooks.secret_keys),
        targets=Targets(allow_private=hooks.allow_private),
        wake=sender.wake,
    )
    uses = Uses(context.writing)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool.open(wait=False)
        context.intake.open()
        beside = [asyncio.create_task(uses.run())]
        if tell_first_key is not None and access.auth:
            beside.append(asyncio.create_task(first_key.make(context, tell_first_key)))
        try:
            async with AsyncExitStack() as stack:
                if hooks.deliver:
                    await stack.enter_async_context(sender.running(context, sending or Sending()))
                await stack.enter_async_context(following(url, context.streams, sender.wake))
                yield
        finally:
            for task in beside:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            context.targets.close()
            await to_thread.run_sync(context.intake.close)
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
        # Its spans have paths and queries, where cards are named; ours are made in `api.traced`.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        dependencies=[Depends(guard.check)],
    )
    app.state.context = context
    app.state.login = Login(who, auth=access.auth, proxies=access.proxies)
    for router in ROUTERS:
        app.include_router(router)
    pages.add(app)
    problems.add(app)
    declared.add(app)
    described.add(app)
    app.add_middleware(Guard, routes=app.routes, given=access, who=who, uses=uses)
    app.add_middleware(
        GZipMiddleware,
        minimum_size=SMALLEST_PACKED,
        compresslevel=PACKED_LEVEL,
        exclude_content_types=PACKED_ALREADY,
    )
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

"""Sends events to webhooks: from the durable outbox, several at once, until they are taken.

Each webhook has places of its own, so one whose endpoint hangs holds up none but itself. What was
sent and could not be written down, because the process or the database went away, is sent again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from uuid import UUID, uuid4

import httpx
import psycopg
from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException

from api import signing
from api.context import Context
from api.replies import AlertReply
from api.targets import BadTarget, Targets, Transport
from tidegate import __version__, metrics
from tidegate.sealing import CannotOpen, Sealer
from tidegate.store import outbox, restored
from tidegate.store.alert_events import AlertEvent
from tidegate.store.connection import Conn
from tidegate.store.outbox import Claimed, Tried

log = logging.getLogger(__name__)

Done = TypeVar("Done")

_EVENTS = 500  # made into deliveries in one transaction
_LOOK_SECONDS = 1.0  # between two looks for what is due
_TIDY_SECONDS = 15.0
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds, while the database is away


@dataclass(frozen=True, slots=True)
class Sending:
    """How webhooks are sent. Times are in seconds."""

    timeout: float = 10.0  # of one try, all in all
    # From each try to the next, which is the last after the last: 2.9 days in all.
    waits: tuple[float, ...] = (5, 30, 300, 1800, 7200, 28_800, 86_400, 129_600)
    jitter: float = 0.1  # a wait is longer or shorter by up to this part
    places: int = 8  # deliveries of one webhook under way
    # Whose certificates are trusted; None: those that httpx brings, or SSL_CERT_FILE.
    verify: ssl.SSLContext | None = field(default=None, repr=False)


def body(event_id: str, kind: str, at: datetime, data: str) -> str:
    """What is sent. `data` is JSON."""
    named = {"id": event_id, "type": kind, "created_at": _rfc3339(at)}
    head = json.dumps(named, separators=(",", ":"))
    return f'{head[:-1]},"data":{data}}}'


def ping() -> tuple[str, str]:
    """The id and the body of a delivery that only shows whether it arrives."""
    event_id = f"ping_{uuid4().hex}"
    return event_id, body(event_id, "ping", datetime.now(UTC), "{}")


def _rendered(event: AlertEvent) -> tuple[str, str]:
    event_id = f"evt_{event.position.id}"
    alert = AlertReply.model_validate(event.alert).model_dump_json()
    return event_id, body(event_id, event.kind, event.at, f'{{"alert":{alert}}}')


class Dispatcher:
    """One for each process; several processes share the work. `writing` gives a connection in a
    transaction that may write."""

    def __init__(
        self,
        writing: Callable[[], AbstractContextManager[Conn]],
        sealer: Sealer,
        targets: Targets,
        sending: Sending,
    ) -> None:
        self._writing = writing
        self._sealer = sealer
        self._targets = targets
        self._sending = sending
        self._limiter = CapacityLimiter(1)
        self._wake = asyncio.Event()
        self._new = True  # whether there may be events that are no deliveries yet
        self._under_way: dict[asyncio.Task[Tried], UUID] = {}
        self._tried: list[Tried] = []  # and not written down yet
        self._tidied = 0.0

    def wake(self) -> None:
        """Says that there are events, or something is due."""
        self._new = True
        self._wake.set()

    async def run(self) -> None:
        """Works until it is cancelled, whatever the database does meanwhile."""
        verify = self._sending.verify or httpx.create_ssl_context()
        wait = _FIRST_WAIT
        async with httpx.AsyncClient(
            transport=Transport(self._targets, verify),
            timeout=self._sending.timeout,
            headers={"User-Agent": f"Tidegate/{__version__}", "Content-Type": "application/json"},
        ) as client:
            try:
                while True:
                    try:
                        more = await self._round(client)
                        wait = _FIRST_WAIT
                    except (psycopg.Error, HTTPException) as ex:
                        log.warning("webhooks wait for the database: %s", type(ex).__name__)
                        more = False
                        await asyncio.sleep(wait)
                        wait = min(2 * wait, _LONGEST_WAIT)
                    if not more:
                        await self._something()
            finally:
                for task in self._under_way:
                    task.cancel()
                await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _round(self, client: httpx.AsyncClient) -> bool:
        """Writes down, makes and claims; says whether there is more to do at once."""
        self._wake.clear()
        if self._tried:
            tried = tuple(self._tried)
            await self._write(lambda conn: outbox.record(conn, tried))
            del self._tried[: len(tried)]
        if self._new:
            self._new = False
            made = await self._write(partial(outbox.make, render=_rendered, limit=_EVENTS))
            self._new = self._new or made == _EVENTS
        busy = Counter(self._under_way.values())
        claim = partial(outbox.claim, busy=busy, places=self._sending.places)
        for claimed in await self._write(claim):
            task = asyncio.create_task(self._try(client, claimed))
            self._under_way[task] = claimed.webhook_id
            task.add_done_callback(self._ended)
        if time.monotonic() - self._tidied >= _TIDY_SECONDS:
            self._tidied = time.monotonic()
            await self._tidy()
        return self._new

    async def _something(self) -> None:
        """Waits until there is something to do: told, or a second later."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            # Another process may have made deliveries, and its events are looked for, too, should
            # it have ended before.
            self._new = True

    async def _tidy(self) -> None:
        if await self._write(restored.renew):
            log.warning("the database was restored from a dump: events begin anew")
        for webhook_id, why in await self._write(outbox.disable):
            log.warning("a webhook was disabled: %s", why, extra={"webhook_id": str(webhook_id)})
        metrics.WEBHOOK_OLDEST_PENDING_SECONDS.set(await self._write(outbox.oldest_seconds))

    async def _write(self, work: Callable[[Conn], Done]) -> Done:
        def transaction() -> Done:
            with self._writing() as conn:
                return work(conn)

        return await to_thread.run_sync(transaction, limiter=self._limiter)

    def _ended(self, task: asyncio.Task[Tried]) -> None:
        del self._under_way[task]
        if not task.cancelled():
            self._tried.append(task.result())
            self._wake.set()

    async def _try(self, client: httpx.AsyncClient, claimed: Claimed) -> Tried:
        began = time.monotonic()
        status: int | None = None
        error: str | None
        try:
            async with asyncio.timeout(self._sending.timeout):
                status = await self._post(client, claimed)
            error = None if 200 <= status < 300 else _refused(status)
        except Exception as ex:
            error = _why(ex)
        wait = None if error is None else self._wait(claimed)
        outcome = "delivered" if error is None else "failed" if wait is None else "retried"
        metrics.WEBHOOK_DELIVERIES.labels(outcome=outcome).inc()
        return Tried(claimed, wait, status, error, time.monotonic() - began)

    async def _post(self, client: httpx.AsyncClient, claimed: Claimed) -> int:
        sealed = [claimed.secret]
        if claimed.previous_secret is not None:
            sealed.append(claimed.previous_secret)
        keys = [self._sealer.open(one) for one in sealed]
        content = claimed.body.encode()
        headers = {
            signing.HEADER: signing.signature(content, int(time.time()), keys),
            "Tidegate-Event-Id": claimed.event_id,
        }
        url = self._targets.check(claimed.url)
        # Only the status is read: the rest may have no end.
        async with client.stream("POST", url, content=content, headers=headers) as answer:
            return answer.status_code

    def _wait(self, claimed: Claimed) -> float | None:
        waits = self._sending.waits
        if claimed.kind == "ping" or claimed.attempts > len(waits):
            return None
        jitter = self._sending.jitter
        return waits[claimed.attempts - 1] * random.uniform(1 - jitter, 1 + jitter)


def _refused(status: int) -> str:
    if 300 <= status < 400:
        return f"answered {status}: redirects are not followed"
    return f"answered {status}"


def _why(ex: Exception) -> str:
    """In a few words, with nothing of what was sent or answered."""
    if isinstance(ex, TimeoutError | httpx.TimeoutException):
        return "took too long"
    if isinstance(ex, CannotOpen):
        return f"its secret cannot be read: {ex}"
    if isinstance(ex, BadTarget):
        return str(ex)
    if isinstance(ex, httpx.HTTPError):
        return f"{type(ex).__name__}: {ex}"[:200]
    log.error("a delivery failed in an unknown way", exc_info=ex)
    return type(ex).__name__


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Sender:
    """The dispatcher of an application, while there is one."""

    def __init__(self) -> None:
        self._wake: Callable[[], None] | None = None

    def wake(self) -> None:
        """Says that there is something to send, from whatever thread."""
        if self._wake is not None:
            self._wake()

    @asynccontextmanager
    async def running(self, context: Context, sending: Sending) -> AsyncIterator[None]:
        """Sends meanwhile."""
        loop = asyncio.get_running_loop()
        dispatcher = Dispatcher(context.writing, context.sealer, context.targets, sending)

        def wake() -> None:
            loop.call_soon_threadsafe(dispatcher.wake)

        self._wake = wake
        task = asyncio.create_task(dispatcher.run(), name="tidegate-webhooks")
        try:
            yield
        finally:
            self._wake = None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

"""Reads what becomes of alerts, once for the whole process, from a thread of its own.

It listens for the triggers' notifications, and looks several times a second beside that: an event
may be committed and still wait for an older transaction, of which nobody is notified, and a pooler
between us and the database may swallow notifications.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psycopg
from anyio import to_thread
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from api.replies import AlertReply
from api.streams import Frame, Streams
from tidegate.store import alert_events, connection
from tidegate.store.alert_events import AlertEvent, Position
from tidegate.store.connection import Conn

log = logging.getLogger(__name__)

BATCH = 500  # events of one query
LOOK_SECONDS = 0.25  # between two looks without a notification
# After events were told, what comes next is gathered for so long: the first of many comes at once,
# and a hundred a second cost as much as twenty.
GATHER_SECONDS = 0.05
FIRST_WAIT, LONGEST_WAIT = 0.25, 5.0  # seconds until the database is tried again

# Called in the event loop: with the events, up to where they go, and whether some before were lost.
Tell = Callable[[list[Frame], Position, bool], None]


def frame(event: AlertEvent) -> Frame | None:
    """The event as it is sent; None where its alert is gone."""
    if event.alert is None:
        return None
    data = AlertReply.model_validate(event.alert).model_dump_json()
    content = f"id: {event.position}\nevent: {event.kind}\ndata: {data}\n\n".encode()
    return Frame(event.position, event.alert.decision, content)


class Follower:
    """The thread. A database that goes away is found again, and nothing is skipped by that."""

    def __init__(self, database_url: str, loop: asyncio.AbstractEventLoop, tell: Tell) -> None:
        self._url = _impatient(database_url)
        self._loop = loop
        self._tell = tell
        self._position: Position | None = None
        self._stopping = threading.Event()
        self._wait = FIRST_WAIT
        self._thread = threading.Thread(target=self._run, name="tidegate-follower", daemon=True)

    def start(self) -> None:
        """Begins with what happens from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it; takes no longer than a look. The event loop must still run."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        said = ""
        while not self._stopping.is_set():
            try:
                with connection.connect(self._url, application_name="tidegate-stream") as conn:
                    conn.autocommit = True
                    conn.prepare_threshold = None  # poolers lose what a session prepared
                    conn.execute(alert_events.LISTEN)
                    self._follow(conn)
                said = ""
            except Exception as ex:
                why = type(ex).__name__
                if said != why:
                    said = why
                    # What the database says may name hosts; what else goes wrong is a bug.
                    bug = None if isinstance(ex, psycopg.Error) else ex
                    log.warning("alerts cannot be followed: %s; tries again", why, exc_info=bug)
                self._stopping.wait(self._wait)
                self._wait = min(2 * self._wait, LONGEST_WAIT)

    def _follow(self, conn: Conn) -> None:
        position = self._position
        if position is None or not alert_events.known(conn, position):
            lost = position is not None
            position = alert_events.now(conn)
            self._handed([], position, lost)
        while not self._stopping.is_set():
            events = alert_events.after(conn, position, limit=BATCH)
            self._wait = FIRST_WAIT
            if events:
                position = events[-1].position
                frames = [made for made in map(frame, events) if made is not None]
                self._handed(frames, position, False)
            if len(events) < BATCH:
                if events:
                    self._stopping.wait(GATHER_SECONDS)
                for _ in conn.notifies(timeout=LOOK_SECONDS, stop_after=1):
                    pass

    def _handed(self, frames: list[Frame], position: Position, lost: bool) -> None:
        # Waits, so that no more than a batch is between this thread and the loop.
        async def tell() -> None:
            self._tell(frames, position, lost)

        asyncio.run_coroutine_threadsafe(tell(), self._loop).result()
        self._position = position


@asynccontextmanager
async def following(
    database_url: str, streams: Streams, woken: Callable[[], None]
) -> AsyncIterator[None]:
    """Tells the streams what becomes of alerts, and `woken` that something did."""

    def tell(frames: list[Frame], position: Position, lost: bool) -> None:
        if lost:
            streams.restart(position)
        else:
            streams.tell(frames, position)
        woken()

    follower = Follower(database_url, asyncio.get_running_loop(), tell)
    follower.start()
    try:
        yield
    finally:
        await to_thread.run_sync(follower.stop)


def _impatient(url: str) -> str:
    # A server that went without a word is noticed by what it does not acknowledge.
    given = conninfo_to_dict(url)
    return make_conninfo(url, tcp_user_timeout=given.get("tcp_user_timeout") or 10_000)

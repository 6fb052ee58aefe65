"""A member of a cluster on several machines: offers a worker, and does what the leader orders."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from dataflows.crew import LOOK
from dataflows.processes import Job, Process, Spare, stop_on_signals
from tidegate.link import Link
from tidegate.store import crew
from tidegate.store.connection import Conn
from tidegate.store.crew import END_NOW, RUN, Member, Order

log = logging.getLogger(__name__)

_BEAT = 1.0  # seconds between two signs of life
_LEAVING = 30.0  # seconds that a leader has to let a member go


class Post:
    """What a member says and hears, by a thread of its own."""

    def __init__(self, url: str, member: Member) -> None:
        self._member = member
        self._order: Order | None = None
        self._closed = threading.Event()
        self._link = Link(url, "tidegate-crew", self._closed)
        self._thread = threading.Thread(target=self._keep, name="tidegate-crew", daemon=True)
        self._thread.start()

    @property
    def order(self) -> Order | None:
        """The newest order."""
        return self._order

    def worked_for(self, generation: int) -> bool:
        """Whether a worker was started for it already, or for a newer one."""
        return self._member.generation is not None and self._member.generation >= generation

    def say(self, **changes: object) -> None:
        """Tells how it goes, as soon as the database can be told."""
        self._member = replace(self._member, **changes)  # type: ignore[arg-type]

    def close(self) -> None:
        """Says the last of it, and ends."""
        self._closed.set()
        self._thread.join(5.0)

    def _keep(self) -> None:
        said, said_at = None, 0.0
        try:
            while True:
                last, member, now = self._closed.is_set(), self._member, time.monotonic()
                tell = member if member != said or now - said_at > _BEAT else None
                self._order = self._link.work(partial(_exchange, tell))
                if tell is not None:
                    said, said_at = tell, now
                if last:
                    return
                self._closed.wait(LOOK)
        except Exception as error:
            if not self._closed.is_set():
                log.critical("the leader cannot be heard any more", exc_info=error)
        finally:
            self._link.close()


def _exchange(tell: Member | None, conn: Conn) -> Order | None:
    if tell is not None:
        crew.say(conn, tell)
    return crew.ordered(conn)


@dataclass
class _Working:
    """A worker that runs. told: how far it was told to end."""

    process: Process
    generation: int
    told: int = RUN

    def end(self, how: int) -> None:
        if how > self.told:
            self.told = how
            self.process.end(at_once=how == END_NOW)


def join(post: Post, session: UUID, spare: Spare, job: Job) -> None:
    """Works for whoever leads until SIGTERM or SIGINT comes; then as soon as the leader has let
    this member go, which the others' work survives, or after half a minute in any case.

    job: what a worker is told beside what the leader orders.
    """
    stop = stop_on_signals()
    working: _Working | None = None
    leaves_by = float("inf")
    log.info("offers a worker")
    try:
        while working is not None or not stop.is_set():
            time.sleep(0.05)
            if not stop.is_set():
                spare.prepare()
            elif leaves_by == float("inf"):
                leaves_by = time.monotonic() + _LEAVING
                post.say(leaving=True)
            order = post.order
            if working is None:
                if order is not None and not stop.is_set():
                    working = _started(order, session, post, spare, job)
            elif (code := working.process.poll()) is not None:
                reason = working.process.reason()
                working.process.close()
                log.info("the worker has ended", extra={"generation": working.generation})
                post.say(generation=working.generation, code=code, reason=reason)
                working = None
            else:
                working.end(_wanted(order, working.generation))
                if time.monotonic() > leaves_by:
                    working.end(END_NOW)
    finally:
        if working is not None:
            working.process.close()


def _started(order: Order, session: UUID, post: Post, spare: Spare, job: Job) -> _Working | None:
    if order.stop != RUN or session not in order.sessions:
        return None
    if post.worked_for(order.generation):
        return None
    index = 1 + order.sessions.index(session)
    ordered = {"generation": order.generation, "index": index, "addresses": [*order.addresses]}
    working = _Working(spare.start(job | ordered), order.generation)
    log.info("the worker starts", extra={"generation": order.generation, "index": index})
    post.say(generation=order.generation, code=None, reason=None)
    return working


def _wanted(order: Order | None, generation: int) -> int:
    """How a worker of that generation is to go on."""
    if order is None:
        return RUN
    return END_NOW if order.generation > generation else order.stop

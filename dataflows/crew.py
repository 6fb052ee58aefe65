"""A cluster on several machines, as its leader sees it: a worker here, the others where they offer.

The leader's own worker has the recovery store; the others get their state from it and send it back
over Bytewax's links, so that they keep nothing and may come and go. Who offers and what is ordered
is in the database (`tidegate.store.crew`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

from dataflows.processes import Job, Spare
from dataflows.supervisor import LOST, Worker, close
from tidegate.link import Link
from tidegate.store import crew
from tidegate.store.connection import Conn
from tidegate.store.crew import END_NOW, END_WELL, RUN, Member, Order

log = logging.getLogger(__name__)

LOOK = 0.25  # seconds between two looks at the database
_AWAY = 3.0  # seconds between two looks of which the database was away


@dataclass(frozen=True)
class Patience:
    """How a leader waits for others; in seconds."""

    settle: float = 5.0  # that those who offer stay the same before the cluster changes for them
    fresh: float = 6.0  # since the last word of a member that may be started
    silence: float = 15.0  # after which one that works counts as lost; machines stall for seconds
    start: float = 30.0  # for a worker to be started where it was ordered
    end: float = 2.0  # for a worker to be ended where that was ordered at once
    forget: float = 60.0  # after which a silent member is taken off


PATIENCE = Patience()


class Board:
    """What the leader last read of its members, and what it has ordered, by a thread of its own:
    an outage of the database holds up nothing here, nor does it make anybody count as lost."""

    def __init__(self, url: str, patience: Patience = PATIENCE) -> None:
        self._patience = patience
        self._members: Mapping[UUID, Member] = {}
        self._read_at, self._read_since = time.monotonic(), float("-inf")
        self._order: Order | None = None
        self._closed = threading.Event()
        self._looked = threading.Event()
        self._link = Link(url, "tidegate-crew", self._closed)
        self._thread = threading.Thread(target=self._keep, name="tidegate-crew", daemon=True)
        self._thread.start()
        self._looked.wait(5.0)

    def members(self) -> Mapping[UUID, Member]:
        """All that are known."""
        return self._members

    def order(self, wanted: Order) -> None:
        """Orders, as soon as the database can be told."""
        self._order = wanted

    def heard(self, member: Member, seconds: float) -> bool:
        """Whether it was heard of within so many seconds, or could not have been."""
        return member.silent < seconds or self._read_at - self._read_since < seconds

    def close(self) -> None:
        """Tells the last order, and ends."""
        self._closed.set()
        self._thread.join(5.0)

    def _keep(self) -> None:
        written: Order | None = None
        try:
            while True:
                last, wanted = self._closed.is_set(), self._order
                members = self._link.work(
                    partial(self._exchange, wanted if wanted != written else None)
                )
                written, now = wanted, time.monotonic()
                if now - self._read_at > _AWAY:  # who could not be heard may be well
                    self._read_since = now
                self._members, self._read_at = members, now
                self._looked.set()
                if last:
                    return
                self._closed.wait(LOOK)
        except Exception as error:
            if not self._closed.is_set():
                log.critical("the members of the cluster cannot be read", exc_info=error)
        finally:
            self._link.close()

    def _exchange(self, wanted: Order | None, conn: Conn) -> Mapping[UUID, Member]:
        if wanted is not None:
            crew.order(conn, wanted)
        crew.forget(conn, self._patience.forget)
        return {member.session: member for member in crew.members(conn)}


@dataclass
class Orders:
    """What is ordered of one generation."""

    board: Board
    patience: Patience
    order: Order

    def __post_init__(self) -> None:
        self.board.order(self.order)

    @property
    def generation(self) -> int:
        """Of the workers that it is about."""
        return self.order.generation

    def end(self, how: int) -> None:
        """To end, at once once that was said."""
        if how > self.order.stop:
            self.order = replace(self.order, stop=how)
            self.board.order(self.order)


class Elsewhere:
    """A worker that a member's supervisor runs."""

    def __init__(self, index: int, member: Member, orders: Orders) -> None:
        self.name = f"worker {index} ({member.name})"
        self._session = member.session
        self._board = orders.board
        self._orders = orders
        self._start_by = time.monotonic() + orders.patience.start
        self._end_by = float("inf")

    def poll(self) -> int | None:
        """As of a process; `LOST` when its supervisor is gone or silent, did not start it, or does
        not say that it ended at once (it cannot write any more, and those it spoke to are gone)."""
        member = self._board.members().get(self._session)
        generation = self._orders.generation
        if member is None:
            return LOST
        if member.generation == generation and member.code is not None:
            return member.code
        until = self._end_by
        if member.generation != generation:
            until = min(until, self._start_by)
        heard = self._board.heard(member, self._orders.patience.silence)
        return None if heard and time.monotonic() < until else LOST

    def end(self, *, at_once: bool = False) -> None:
        """Tells it, and with it all others, to end."""
        if at_once and self._end_by == float("inf"):
            self._end_by = time.monotonic() + self._orders.patience.end
        self._orders.end(END_NOW if at_once else END_WELL)

    def reason(self) -> str | None:
        """As of a process."""
        member = self._board.members().get(self._session)
        return None if member is None else member.reason

    def close(self) -> None:
        """Ends it if it still runs."""
        if self.poll() is None:
            self._orders.end(END_NOW)


@dataclass
class ManyMachines:
    """A worker of the leader's, and one for each member that offers.

    address: host:port that the leader's worker is reached at. settings: that a member must have
    too. most: workers in all. spare: starts the leader's.
    """

    board: Board
    address: str
    settings: Mapping[str, Any]
    most: int
    spare: Spare
    patience: Patience = PATIENCE
    _started: tuple[UUID, ...] = ()
    _offered: tuple[UUID, ...] = ()
    _since: float = 0.0
    _refused: set[UUID] = field(default_factory=set)

    def start(self, job: Job) -> Sequence[Worker]:
        """As `supervisor.Crew` says."""
        members = self._eligible()
        self._started = self._offered = tuple(member.session for member in members)
        addresses = [self.address, *(member.address for member in members)] if members else []
        order = Order(int(job["generation"]), self._started, tuple(addresses), RUN)
        orders = Orders(self.board, self.patience, order)
        log.info(
            "the workers start",
            extra={"workers": 1 + len(members), "members": [member.name for member in members]},
        )
        others: list[Worker] = [
            Elsewhere(index, member, orders) for index, member in enumerate(members, start=1)
        ]
        own = {"index": 0, "place": 0, "addresses": addresses}
        try:
            return [self.spare.start(job | own), *others]
        except BaseException:
            close(others)
            raise

    def differs(self) -> bool:
        """Whether one that works wants to leave, or others have offered for a while."""
        self.spare.prepare()
        members = self.board.members()
        if any(s in members and members[s].leaving for s in self._started):
            return True
        offered = tuple(member.session for member in self._eligible())
        if offered != self._offered:
            self._offered, self._since = offered, time.monotonic()
        return offered != self._started and time.monotonic() - self._since > self.patience.settle

    def _eligible(self) -> Sequence[Member]:
        """Who may work, those that do already first."""
        offering = []
        for member in self.board.members().values():
            if member.leaving or not self.board.heard(member, self.patience.fresh):
                continue
            if other := _difference(member.settings, self.settings):
                if member.session not in self._refused:
                    log.warning("%s is left out: its %s", member.name, other)
                    self._refused.add(member.session)
                continue
            offering.append(member)
        # Those that work stay in their order, or a change of names alone would be one.
        place = {session: at for at, session in enumerate(self._started)}
        offering.sort(key=lambda member: place.get(member.session, len(place)))
        return offering[: self.most - 1]


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str | None:
    for name in sorted({*theirs, *ours}):
        if theirs.get(name) != ours.get(name):
            return f"{name} is {theirs.get(name)}, here it is {ours.get(name)}"
    return None

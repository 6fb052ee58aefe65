"""Where payments and labels are handed over: the inbox in the database, or Kafka."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import psycopg
from psycopg_pool import ConnectionPool

from api.intake.asked import Busy, Key
from tidegate.kafka.sending import Sender
from tidegate.store import connection, decided, inbox
from tidegate.store.connection import Conn
from tidegate.store.decided import Place
from tidegate.store.queries import StoredDecision

log = logging.getLogger(__name__)

MOST_BEHIND = 500_000  # payments in the inbox that no flow has stored; beyond, none is taken
_LOOK_EVERY = 1.0  # seconds between two looks at how many there are
_AWAY = 5.0  # seconds in which a database that was away is not asked again


@dataclass(frozen=True, slots=True)
class New:
    """A payment to be handed over."""

    place: Place
    content: int  # hash, 64 bits, signed
    card_token: str
    message: bytes  # JSON


@dataclass
class Known:
    """What is known of payments before they are taken, and those that are taken then."""

    decided: Mapping[Place, StoredDecision]
    contents: dict[str, int]  # of those taken before, by id; hashes
    conn: Conn | None = None  # None: the database is away
    taken: list[New] = field(default_factory=list)
    traces: list[str | None] = field(default_factory=list)  # of those, their contexts' headers

    def put(self, new: New, trace: str | None) -> None:
        """Takes a payment. trace: the header of the context that it goes on with."""
        self.taken.append(new)
        self.traces.append(trace)
        self.contents[new.place[0]] = new.content

    def claim(self, key: Key) -> bool:
        """Whether an idempotency key is this request's, now or from before."""
        if self.conn is None:  # nobody can tell; the payments' own ids tell repeats all the same
            return True
        return inbox.claim_key(self.conn, key.caller, key.key, key.digest)


class Door(Protocol):
    """Where payments and labels go. One thread at a time.

    Both ways raise what requests are told: Busy, psycopg.OperationalError, KafkaFailed.
    """

    def take(self, places: Sequence[Place], decide: Callable[[Known], None]) -> None:
        """Has it decided which of these payments are taken, by what is known of them, and hands
        those over; they are durable when this returns. It may be decided twice."""

    def labels(self, ids: Sequence[str], messages: Sequence[bytes]) -> None:
        """Hands over labels of payments with these ids."""


class InboxDoor:
    """To the inbox."""

    def __init__(self, pool: ConnectionPool[Conn]) -> None:
        self._pool = pool
        self._looked = 0.0
        self._behind = 0

    def take(self, places: Sequence[Place], decide: Callable[[Known], None]) -> None:
        """As `Door`: all in one transaction."""
        with self._pool.connection() as conn:
            connection.allow_writing(conn)
            self._refuse_backlog(conn)
            found = decided.get(conn, places)
            inbox.lock(conn)
            known = Known(found, inbox.contents(conn, [id for id, _ in places]), conn)
            decide(known)
            inbox.put_payments(
                conn,
                [new.place[0] for new in known.taken],
                [new.content for new in known.taken],
                [new.message.decode() for new in known.taken],
                known.traces,
            )

    def labels(self, ids: Sequence[str], messages: Sequence[bytes]) -> None:
        """As `Door`."""
        with self._pool.connection() as conn:
            connection.allow_writing(conn)
            inbox.lock(conn)
            inbox.put_labels(conn, ids, [message.decode() for message in messages])

    def _refuse_backlog(self, conn: Conn) -> None:
        if time.monotonic() - self._looked >= _LOOK_EVERY:
            self._looked = time.monotonic()
            self._behind = inbox.behind(conn, "payments")
        if self._behind > MOST_BEHIND:
            raise Busy(f"more than {MOST_BEHIND:,} payments wait to be scored")


class KafkaDoor:
    """To Kafka's topics.

    What the database knows is told to repeats; where it is away, payments are taken all the same,
    and the flow, which knows the ids of the last day, tells repeats.
    """

    def __init__(self, pool: ConnectionPool[Conn], sender: Sender) -> None:
        self._pool = pool
        self._sender = sender
        self._away_until = 0.0

    def take(self, places: Sequence[Place], decide: Callable[[Known], None]) -> None:
        """As `Door`."""
        known = self._decided(places, decide)
        if known is None:
            known = Known({}, {})
            decide(known)
        self._sender.payments(
            [(new.card_token.encode(), new.message) for new in known.taken],
            known.traces,
        )

    def labels(self, ids: Sequence[str], messages: Sequence[bytes]) -> None:
        """As `Door`."""
        self._sender.labels([(id.encode(), m) for id, m in zip(ids, messages, strict=True)])

    def _decided(self, places: Sequence[Place], decide: Callable[[Known], None]) -> Known | None:
        """None where the database is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            with self._pool.connection() as conn:
                connection.allow_writing(conn)
                known = Known(decided.get(conn, places), {}, conn)
                decide(known)
        except psycopg.OperationalError as error:
            log.warning("payments go to Kafka without the database: %s", type(error).__name__)
            self._away_until = time.monotonic() + _AWAY
            return None
        return known

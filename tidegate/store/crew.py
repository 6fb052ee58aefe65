"""Where the supervisors of a cluster on several machines meet.

One of them leads: it holds the lease and the recovery store, takes the generation and says who
works. The others offer a worker each and do as they are told. The database is reached by all
anyway, over connections that are encrypted and authenticated; so there is no port of our own to
guard, and who leads is not voted on: it is who has the lease.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tidegate.store.connection import Conn

RUN, END_WELL, END_NOW = 0, 1, 2

SAY = """
INSERT INTO crew_member (session, name, address, settings, leaving, generation, code, reason)
VALUES (%(session)s, %(name)s, %(address)s, %(settings)s, %(leaving)s, %(generation)s, %(code)s,
        %(reason)s)
ON CONFLICT (session) DO UPDATE
SET leaving = excluded.leaving, generation = excluded.generation, code = excluded.code,
    reason = excluded.reason, seen_at = now()
"""

MEMBERS = """
SELECT session, name, address, settings, leaving, generation, code, reason,
       extract(epoch FROM now() - seen_at)::float8
FROM crew_member
ORDER BY name, session
"""

FORGET = "DELETE FROM crew_member WHERE seen_at < now() - make_interval(secs => %(seconds)s)"

# An order of an older generation comes from a leader that another has replaced: it is not written.
ORDER = """
INSERT INTO crew_order (generation, sessions, addresses, stop)
VALUES (%(generation)s, %(sessions)s, %(addresses)s, %(stop)s)
ON CONFLICT ("only") DO UPDATE
SET generation = excluded.generation, sessions = excluded.sessions,
    addresses = excluded.addresses, stop = excluded.stop, ordered_at = now()
WHERE crew_order.generation <= excluded.generation
"""

ORDERED = "SELECT generation, sessions, addresses, stop FROM crew_order"


@dataclass(frozen=True)
class Member:
    """A supervisor that offers a worker. generation: that its worker is or was of, None before the
    first; code: how that one ended, None while it runs; silent: seconds since it was heard of."""

    session: UUID
    name: str
    address: str  # host:port that its worker is reached at
    settings: Mapping[str, Any]
    leaving: bool = False
    generation: int | None = None
    code: int | None = None
    reason: str | None = None
    silent: float = 0.0


@dataclass(frozen=True)
class Order:
    """What a leader wants: these workers, by session, the leader's own before them; their
    addresses with the leader's first, none where it works alone."""

    generation: int
    sessions: tuple[UUID, ...]
    addresses: tuple[str, ...]
    stop: int = RUN


def say(conn: Conn, member: Member) -> None:
    """Tells how a member is; that it is alive too."""
    conn.execute(
        SAY,
        {
            "session": member.session,
            "name": member.name,
            "address": member.address,
            "settings": json.dumps(member.settings),
            "leaving": member.leaving,
            "generation": member.generation,
            "code": member.code,
            "reason": member.reason,
        },
    )


def members(conn: Conn) -> Sequence[Member]:
    """All that are known, by name."""
    return [Member(*row) for row in conn.execute(MEMBERS)]


def forget(conn: Conn, seconds: float) -> None:
    """Takes off who has not been heard of for so long."""
    conn.execute(FORGET, {"seconds": seconds})


def order(conn: Conn, wanted: Order) -> None:
    """Orders, unless a newer leader has."""
    conn.execute(
        ORDER,
        {
            "generation": wanted.generation,
            "sessions": list(wanted.sessions),
            "addresses": list(wanted.addresses),
            "stop": wanted.stop,
        },
    )


def ordered(conn: Conn) -> Order | None:
    """The newest order, None before the first."""
    row = conn.execute(ORDERED).fetchone()
    if row is None:
        return None
    generation, sessions, addresses, stop = row
    return Order(generation, tuple(sessions), tuple(addresses), stop)

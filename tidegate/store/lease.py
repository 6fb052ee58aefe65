"""The lease that a running cluster holds on its database, so that a second one is not started.

It is an advisory lock of a session: PostgreSQL gives it back when the session ends, however that
comes about. It only refuses starts. What keeps two clusters from writing is the generation
(`progress`): a session may be lost while its cluster still runs.
"""

from __future__ import annotations

from tidegate.store.connection import Conn

# Arbitrary, but it must never change, or an old and a new release would no longer see each other.
# Advisory locks are per database, so clusters on other databases of the server do not matter.
LOCK = 7_421_907_310_558_202

TAKE = "SELECT pg_try_advisory_lock(%(lock)s)"

NEWEST = """
SELECT generation, to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM cluster
"""


class AnotherCluster(RuntimeError):
    """Another cluster holds the lease."""


def take(conn: Conn) -> bool:
    """Takes the lease for the life of the connection's session; says whether it could be had."""
    (taken,) = conn.execute(TAKE, {"lock": LOCK}).fetchone() or (False,)
    return bool(taken)


def refusal(conn: Conn) -> AnotherCluster:
    """What to tell somebody who could not have the lease."""
    newest = conn.execute(NEWEST).fetchone()
    which = "" if newest is None else " (generation {}, started {})".format(*newest)
    return AnotherCluster(f"another cluster{which} is running on this database: stop it first")

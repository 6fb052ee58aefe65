"""Messages on their way to the scoring flow without Kafka: payments and labels that came over HTTP,
and what analysts found out.

A reader goes by numbers and never looks back, so a number must not become visible after a higher
one. Numbers are therefore given under a lock that is held until the commit. Whoever puts many
messages puts them in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tidegate.store.connection import Conn, MicrosLoader

Kind = Literal["payments", "labels"]
KINDS: tuple[Kind, ...] = ("payments", "labels")

# Arbitrary and for ever, as `lease.LOCK`.
NUMBERS = 7_421_907_310_558_207

LOCK = "SELECT pg_advisory_xact_lock(%(lock)s)"

PUT_PAYMENTS = """
INSERT INTO inbox (kind, at, transaction_id, content, message, trace)
SELECT 'payments', clock_timestamp(), g.transaction_id, g.content, g.message, g.trace
FROM unnest(%(ids)s::text[], %(contents)s::bigint[], %(messages)s::text[], %(traces)s::text[])
    WITH ORDINALITY AS g (transaction_id, content, message, trace, place)
ORDER BY place
RETURNING number
"""

CONTENTS = """
SELECT transaction_id, content FROM inbox
WHERE kind = 'payments' AND transaction_id = ANY(%(ids)s::text[])
"""

PUT_LABELS = """
INSERT INTO inbox (kind, at, transaction_id, message)
SELECT 'labels', clock_timestamp(), g.transaction_id, g.message
FROM unnest(%(ids)s::text[], %(messages)s::text[])
    WITH ORDINALITY AS g (transaction_id, message, place)
ORDER BY place
RETURNING number
"""

MOVE = """
UPDATE inbox SET number = DEFAULT, at = clock_timestamp()
WHERE kind = %(kind)s AND number = %(number)s
RETURNING number
"""

TAKE_OUT = "DELETE FROM inbox WHERE kind = %(kind)s AND number = %(number)s"

TELL = "SELECT pg_notify('tidegate_inbox', '')"

LISTEN = "LISTEN tidegate_inbox"

READ = """
SELECT number, at, message, trace FROM inbox
WHERE kind = %(kind)s AND number >= %(first)s ORDER BY number LIMIT %(limit)s
"""

COUNT = """
SELECT count(*) FROM (
    SELECT FROM inbox WHERE kind = %(kind)s AND number >= %(first)s LIMIT %(most)s
) AS waiting
"""

NOTE_READ = """
INSERT INTO inbox_read (kind, number) VALUES (%(kind)s, %(number)s)
ON CONFLICT (kind) DO UPDATE
SET number = greatest(inbox_read.number, excluded.number), updated_at = now()
"""

BEHIND = """
SELECT coalesce((SELECT max(number) + 1 FROM inbox WHERE kind = %(kind)s), 0)
    - coalesce((SELECT "offset" FROM source_progress WHERE topic = %(topic)s), 0)
"""

CLAIM_KEY = """
INSERT INTO idempotency_key (caller, key, digest) VALUES (%(caller)s, %(key)s, %(digest)s)
ON CONFLICT (caller, key) DO NOTHING
"""

KEY = "SELECT digest FROM idempotency_key WHERE caller = %(caller)s AND key = %(key)s"

# Oldest first and in batches, so that no transaction takes long. Never what is still to be read.
FORGET = """
DELETE FROM inbox WHERE number = ANY(ARRAY(
    SELECT i.number FROM inbox AS i JOIN inbox_read AS r USING (kind)
    WHERE i.at < %(before)s AND i.number < r.number
    ORDER BY i.at LIMIT %(batch)s
))
"""

FORGET_KEYS = """
DELETE FROM idempotency_key WHERE (caller, key) IN (
    SELECT caller, key FROM idempotency_key WHERE at < %(before)s ORDER BY at LIMIT %(batch)s
)
"""


def topic(kind: Kind) -> str:
    """What a kind is called where Kafka's topics have their names: those have no colon."""
    return f"inbox:{kind}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message as it lies in the inbox."""

    number: int
    at: int  # when it was put, microseconds since the epoch
    message: str  # JSON
    trace: str | None  # the header of the context that it goes on with


def lock(conn: Conn) -> None:
    """Holds off everybody else who puts messages, until the transaction ends. To be called before
    `put_payments` and `put_labels`, and as late as can be."""
    conn.execute(LOCK, {"lock": NUMBERS})


def put_payments(
    conn: Conn,
    ids: Sequence[str],
    contents: Sequence[int],
    messages: Sequence[str],
    traces: Sequence[str | None] = (),
) -> list[int]:
    """Puts payments: ids, of which none is there yet (`contents`), hashes of their contents (64
    bits, signed), messages, and the headers of the contexts that they go on with, as far as there
    are any. Gives their numbers. The lock must be held."""
    if not ids:
        return []
    values = {
        "ids": list(ids),
        "contents": list(contents),
        "messages": list(messages),
        "traces": list(traces),
    }
    numbers = [number for (number,) in conn.execute(PUT_PAYMENTS, values)]
    conn.execute(TELL)
    return numbers


def contents(conn: Conn, ids: Sequence[str]) -> dict[str, int]:
    """The hashes of the contents of those payments that are in the inbox."""
    return dict(conn.execute(CONTENTS, {"ids": list(ids)}).fetchall())


def put_labels(conn: Conn, ids: Sequence[str], messages: Sequence[str]) -> list[int]:
    """Puts labels: the ids of their transactions and messages. Gives their numbers. The lock must
    be held."""
    if not ids:
        return []
    values = {"ids": list(ids), "messages": list(messages)}
    numbers = [number for (number,) in conn.execute(PUT_LABELS, values)]
    conn.execute(TELL)
    return numbers


def move_to_the_end(conn: Conn, kind: Kind, number: int) -> int | None:
    """Gives a message, which the flow has read, a new number, as if it was put now; None where it
    is no longer there. The lock must be held."""
    moved = conn.execute(MOVE, {"kind": kind, "number": number}).fetchone()
    conn.execute(TELL)
    return None if moved is None else int(moved[0])


def take_out(conn: Conn, kind: Kind, number: int) -> None:
    """Deletes a message, which the flow has read, if it is there."""
    conn.execute(TAKE_OUT, {"kind": kind, "number": number})


def read(conn: Conn, kind: Kind, first: int, limit: int) -> list[Waiting]:
    """At most `limit` messages of a kind from this number on, in their order."""
    with conn.cursor(binary=True) as cursor:
        cursor.adapters.register_loader("timestamptz", MicrosLoader)
        values = {"kind": kind, "first": first, "limit": limit}
        return [Waiting(*row) for row in cursor.execute(READ, values)]


def count(conn: Conn, kind: Kind, first: int, most: int) -> int:
    """How many messages of a kind there are from this number on, `most` if there are more."""
    values = {"kind": kind, "first": first, "most": most}
    (found,) = conn.execute(COUNT, values).fetchone() or (0,)
    return int(found)


def note_read(conn: Conn, numbers: Mapping[Kind, int]) -> None:
    """Says at which number of each kind the flow goes on, whatever happens to it."""
    for kind, number in numbers.items():
        conn.execute(NOTE_READ, {"kind": kind, "number": number})


def behind(conn: Conn, kind: Kind) -> int:
    """How many messages of a kind the flow has not stored yet; some more, as numbers have gaps."""
    found = conn.execute(BEHIND, {"kind": kind, "topic": topic(kind)}).fetchone() or (0,)
    return max(0, int(found[0]))


def claim_key(conn: Conn, caller: str, key: str, digest: bytes) -> bool:
    """Takes an idempotency key for a request of this digest; says whether it is this request's:
    taken now, or by the same request before."""
    values = {"caller": caller, "key": key}
    if conn.execute(CLAIM_KEY, values | {"digest": digest}).rowcount:
        return True
    row = conn.execute(KEY, values).fetchone()
    return row is not None and bytes(row[0]) == digest


def forget(conn: Conn, before: datetime, batch: int) -> int:
    """Deletes up to `batch` messages that the flow has read and that were put before this time;
    says how many it were."""
    return conn.execute(FORGET, {"before": before, "batch": batch}).rowcount


def forget_keys(conn: Conn, before: datetime, batch: int) -> int:
    """Deletes up to `batch` idempotency keys that were taken before this time; says how many."""
    return conn.execute(FORGET_KEYS, {"before": before, "batch": batch}).rowcount

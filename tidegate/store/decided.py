"""Decisions that somebody waits for: asked for by id and time, and told of when there are new ones.

Being told is a hint and no more: whoever listens looks again by itself after a while.
"""

from __future__ import annotations

from collections.abc import Collection

from psycopg.rows import class_row

from tidegate.schema import to_micros
from tidegate.store.connection import Conn, Micros
from tidegate.store.queries import StoredDecision

# A payment: its id, and its event time in microseconds since the epoch.
Place = tuple[str, int]

GET = """
SELECT s.transaction_id, s.event_time, s.card_token, s.terminal_id, s.amount_minor, s.currency,
       s.score, s.decision, s.reasons, s.model_version, s.policy_version, s.scored_at
FROM unnest(%(ids)s::text[], %(times)b::timestamptz[]) AS asked (transaction_id, event_time)
JOIN score AS s USING (transaction_id, event_time)
"""

TELL = "SELECT pg_notify('tidegate_decided', '')"

LISTEN = "LISTEN tidegate_decided"


def get(conn: Conn, places: Collection[Place]) -> dict[Place, StoredDecision]:
    """Those of the payments that are decided."""
    if not places:
        return {}
    values = {"ids": [id for id, _ in places], "times": [Micros(at) for _, at in places]}
    with conn.cursor(row_factory=class_row(StoredDecision)) as cursor:
        rows = cursor.execute(GET, values).fetchall()
    return {(row.transaction_id, to_micros(row.event_time)): row for row in rows}


def tell(conn: Conn) -> None:
    """Tells those who listen, once the transaction commits."""
    conn.execute(TELL)

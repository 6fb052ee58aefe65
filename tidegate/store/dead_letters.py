"""Messages that could not be taken, kept until somebody has looked at them. `store.queries` reads
them."""

from __future__ import annotations

from datetime import datetime

from psycopg.types.json import Jsonb

from tidegate.schema import DeadLetters, Texts
from tidegate.store.connection import Conn, Micros
from tidegate.store.queries import DeadLetter

# Counted here and not by a trigger, as alerts and labels are: one that sees all rows of a statement
# is not had of a hypertable on every version of TimescaleDB.
WRITE = """
WITH written AS (
    INSERT INTO dead_letter (topic, partition, "offset", at, reason, field, detail, payload)
    SELECT *
    FROM unnest(
        %(topic)s::text[], %(partition)s::bigint[], %(offset)s::bigint[], %(at)b::timestamptz[],
        %(reason)s::text[], %(field)s::text[], %(detail)s::text[], %(payload)s::text[]
    )
    ON CONFLICT DO NOTHING
    RETURNING reason
), counted AS MATERIALIZED (
    SELECT reason, count(*) AS number FROM written GROUP BY reason ORDER BY reason
)
SELECT add_to_total('dead_letter', reason, '', number) FROM counted
"""

# The key beside the id lets TimescaleDB look into one chunk only.
CLAIM = """
UPDATE dead_letter SET replayed_at = clock_timestamp()
WHERE id = %(id)s AND topic = %(topic)s AND partition = %(partition)s AND "offset" = %(offset)s
    AND at = %(at)s AND (replayed_at IS NULL OR %(again)s)
RETURNING replayed_at
"""

AUDIT = """
INSERT INTO audit (actor, action, subject, after)
VALUES (%(actor)s, 'dead_letter.replay', %(id)s::text, %(after)s)
"""


def write(conn: Conn, dead: DeadLetters) -> None:
    """Writes the dead letters that are not there yet.

    A message is known by its topic, partition, offset and time. Any text is taken: what PostgreSQL
    cannot store (NUL, half a surrogate pair) is replaced by U+FFFD.
    """
    if len(dead) == 0:
        return
    conn.execute(
        WRITE,
        {
            "topic": _storable(dead.topic),
            "partition": dead.partition.tolist(),
            "offset": dead.offset.tolist(),
            "at": [Micros(at) for at in dead.at.tolist()],
            "reason": _storable(dead.reason),
            "field": _storable(dead.field),
            "detail": _storable(dead.detail),
            "payload": _storable(dead.payload),
        },
    )


def claim(conn: Conn, letter: DeadLetter, *, again: bool) -> datetime | None:
    """Marks a dead letter as replayed and returns when, or None where it is marked already and
    `again` is not asked.

    To be called before its message is sent, in the transaction that commits after it was: others
    that would replay it wait at its row, and then find it marked.
    """
    key = {name: getattr(letter, name) for name in ("id", "topic", "partition", "offset", "at")}
    row = conn.execute(CLAIM, key | {"again": again}).fetchone()
    return None if row is None else row[0]


def audit_replay(
    conn: Conn, letter: DeadLetter, *, actor: str, topic: str, partition: int, offset: int
) -> None:
    """Writes down who replayed a dead letter, and where its message is now."""
    after = Jsonb({"topic": topic, "partition": partition, "offset": offset})
    conn.execute(AUDIT, {"actor": actor, "id": letter.id, "after": after})


def _storable(column: Texts) -> list[str | None]:
    return [None if text is None else _text(str(text)) for text in column]


def _text(text: str) -> str:
    # A message is often dead because it holds such characters, and its letter must not die of
    # them too.
    if text.isprintable():
        return text
    return text.translate(_UNSTORABLE)


_UNSTORABLE = dict.fromkeys([0, *range(0xD800, 0xE000)], "\N{REPLACEMENT CHARACTER}")

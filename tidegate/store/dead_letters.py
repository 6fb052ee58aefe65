"""Messages that could not be taken, kept until somebody has looked at them."""

from __future__ import annotations

from tidegate.schema import DeadLetters, Texts
from tidegate.store.connection import Conn, Micros

WRITE = """
INSERT INTO dead_letter (topic, partition, "offset", at, reason, field, detail, payload)
SELECT *
FROM unnest(
    %(topic)s::text[], %(partition)s::bigint[], %(offset)s::bigint[], %(at)b::timestamptz[],
    %(reason)s::text[], %(field)s::text[], %(detail)s::text[], %(payload)s::text[]
)
ON CONFLICT DO NOTHING
"""


def write(conn: Conn, dead: DeadLetters) -> int:
    """Writes the dead letters that are not there yet and returns how many that were.

    A message is known by its topic, partition, offset and time. Any text is taken: what PostgreSQL
    cannot store (NUL, half a surrogate pair) is replaced by U+FFFD.
    """
    if len(dead) == 0:
        return 0
    done = conn.execute(
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
    return done.rowcount


def _storable(column: Texts) -> list[str | None]:
    return [None if text is None else _text(str(text)) for text in column]


def _text(text: str) -> str:
    # A message is often dead because it holds such characters, and its letter must not die of
    # them too.
    if text.isprintable():
        return text
    return text.translate(_UNSTORABLE)


_UNSTORABLE = dict.fromkeys([0, *range(0xD800, 0xE000)], "\N{REPLACEMENT CHARACTER}")

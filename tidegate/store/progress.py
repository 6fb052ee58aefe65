"""How far each sink partition has come, and which cluster may write at all.

A cluster that starts takes the next generation. Every sink transaction moves its own row of
`sink_progress` and is refused when the row carries another generation, so an older cluster that
still runs cannot write beside the new one. The row also says whether the database has everything
that the recovery store believes to be in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tidegate.store.connection import Conn

NEXT_GENERATION = """
INSERT INTO cluster (generation) VALUES (1)
ON CONFLICT ("only") DO UPDATE SET generation = cluster.generation + 1, started_at = now()
RETURNING generation
"""

# Rows are locked in one order everywhere, so that a start and a sink of several partitions wait
# for one another and do not deadlock.
LOCK_ALL = "SELECT FROM sink_progress ORDER BY partition FOR UPDATE"

STAMP_ALL = "UPDATE sink_progress SET generation = %(generation)s"

# Shared: partitions may begin together, but not while a new cluster takes its generation.
GENERATION = "SELECT generation FROM cluster FOR SHARE"

SEQUENCE = "SELECT sequence FROM sink_progress WHERE partition = %(partition)s FOR UPDATE"

BEGIN = """
INSERT INTO sink_progress (partition, generation, sequence)
VALUES (%(partition)s, %(generation)s, %(sequence)s)
ON CONFLICT (partition) DO UPDATE
SET generation = excluded.generation, sequence = excluded.sequence, updated_at = now()
"""

ADVANCE = """
WITH held AS MATERIALIZED (
    SELECT partition FROM sink_progress
    WHERE partition = ANY(%(partitions)s)
    ORDER BY partition
    FOR UPDATE
)
UPDATE sink_progress AS p
SET sequence = greatest(p.sequence, n.sequence), updated_at = now()
FROM unnest(%(partitions)s::text[], %(sequences)s::bigint[]) AS n (partition, sequence)
JOIN held USING (partition)
WHERE p.partition = n.partition AND p.generation = %(generation)s
RETURNING p.partition
"""

GENERATION_OF = "SELECT generation FROM sink_progress WHERE partition = %(partition)s"

READ = "SELECT partition, sequence FROM sink_progress"

MARK = """
INSERT INTO source_progress (topic, partition, generation, "offset")
SELECT topic, partition, %(generation)s, "offset"
FROM unnest(%(topics)s::text[], %(partitions)s::bigint[], %(offsets)s::bigint[])
    AS n (topic, partition, "offset")
ON CONFLICT (topic, partition) DO UPDATE
SET generation = excluded.generation, "offset" = excluded."offset", updated_at = now()
"""

READ_MARKS = """
SELECT topic, partition, "offset" FROM source_progress WHERE generation = %(generation)s
"""

NONE_YET = -1  # the sequence of a partition that has stored nothing


class Fenced(RuntimeError):  # it names a state, as the design does
    """Another cluster has taken over: this one must stop and write nothing more."""


class DatabaseBehind(RuntimeError):
    """The recovery store is ahead of the database: going on would lose decisions for good."""


def take_generation(conn: Conn) -> int:
    """Takes the next generation for a cluster that starts. From its commit on, `advance` of every
    older cluster is refused. Waits for older sink transactions that are still open."""
    (generation,) = conn.execute(NEXT_GENERATION).fetchone() or (0,)
    conn.execute(LOCK_ALL)
    conn.execute(STAMP_ALL, {"generation": generation})
    return int(generation)


def begin(conn: Conn, generation: int, partition: str, snapshot_sequence: int | None) -> None:
    """Opens a sink partition at the sequence that its snapshot names; None where the recovery
    store is fresh, which starts its count at -1 (nothing stored). A sequence beyond it was reached
    by a cluster that died, and says nothing of the steps that come now.

    Raises Fenced when the generation is no longer the newest, and DatabaseBehind when the snapshot
    names a sequence that the database never got.
    """
    newest = conn.execute(GENERATION).fetchone()
    if newest is None or newest[0] != generation:
        raise Fenced(_fenced(generation, None if newest is None else newest[0]))
    row = conn.execute(SEQUENCE, {"partition": partition}).fetchone()
    stored = NONE_YET if row is None else int(row[0])
    if snapshot_sequence is not None and snapshot_sequence > stored:
        raise DatabaseBehind(
            f"the recovery store has seen {partition} write up to {snapshot_sequence}, this "
            f"database holds it up to {stored}: restore a newer backup of the database, or move "
            "the recovery store away to start without it"
        )
    sequence = NONE_YET if snapshot_sequence is None else snapshot_sequence
    conn.execute(BEGIN, {"partition": partition, "generation": generation, "sequence": sequence})


def advance(conn: Conn, generation: int, sequences: Mapping[str, int]) -> Callable[[], None]:
    """Sets the sequence of each partition, in the transaction of the rows that it counts. What
    comes behind its step, as a challenger's metrics may, sets no partition back.

    Gives what is to be called before anything else is done, but after the pipeline where this is
    part of one, so that asking costs no trip of its own. It raises Fenced when any of the
    partitions belongs to another generation, or was never begun; the caller then rolls back and
    stops.
    """
    partitions = sorted(sequences)
    moved = conn.execute(
        ADVANCE,
        {
            "generation": generation,
            "partitions": partitions,
            "sequences": [sequences[name] for name in partitions],
        },
    )

    def check() -> None:
        held = {partition for (partition,) in moved}
        for partition in partitions:
            if partition not in held:
                newest = conn.execute(GENERATION_OF, {"partition": partition}).fetchone()
                raise Fenced(_fenced(generation, None if newest is None else newest[0]))

    return check


def read(conn: Conn) -> dict[str, int]:
    """The stored sequence of every partition; -1 where nothing is stored yet."""
    return dict(conn.execute(READ).fetchall())


def mark(conn: Conn, generation: int, offsets: Mapping[tuple[str, int], int]) -> None:
    """Says up to which offset (of the next message) everything of each topic and partition is
    stored; in the transaction that stores it, after `advance`."""
    if not offsets:
        return
    places = sorted(offsets)  # in one order everywhere, as rows are locked
    conn.execute(
        MARK,
        {
            "generation": generation,
            "topics": [topic for topic, _ in places],
            "partitions": [partition for _, partition in places],
            "offsets": [offsets[place] for place in places],
        },
    )


def read_marks(conn: Conn, generation: int) -> dict[tuple[str, int], int]:
    """What this generation has marked so far, by topic and partition."""
    rows = conn.execute(READ_MARKS, {"generation": generation})
    return {(topic, partition): offset for topic, partition, offset in rows}


def _fenced(own: int, newest: int | None) -> str:
    if newest is None:
        return f"this cluster is generation {own}, and the database knows no such cluster"
    return f"this cluster is generation {own}, and generation {newest} has taken over: it stops"

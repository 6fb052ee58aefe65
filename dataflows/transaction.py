"""Stores a batch of outcomes in one transaction, in as few trips to the database as COPY allows.

A trip is a question and the wait for its answer; between machines each costs as much as the rows of
a small batch. There are four: the transaction begins and asks for the partitions, COPY asks whether
it may send, its rows are acknowledged, and everything else goes together with the COMMIT
(docs/decisions/0021-trips.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataflows.messages import Outcome
from tidegate.schema import DAY, Labels
from tidegate.store import dead_letters, decided, decisions, labels, models, progress
from tidegate.store.connection import Conn

BEGIN, COMMIT = "BEGIN", "COMMIT"


def store(
    conn: Conn,
    generation: int,
    taken: Sequence[tuple[str, Outcome]],
    *,
    noted: Mapping[str, int],
    tells: bool,
) -> int:
    """Stores the outcomes, each with its sink partition, and commits; returns how many of their
    decisions were new. The connection is in autocommit mode; after an error, with a transaction
    open, it is to be closed.

    noted: the use of versions that is written down already. tells: whether somebody may wait for a
    decision at the database. Raises `progress.Fenced`.
    """
    outcomes = [outcome for _, outcome in taken]
    parts = [o.decisions for o in outcomes if o.decisions is not None and len(o.decisions)]
    with conn.pipeline():
        conn.execute(BEGIN)
        check = progress.advance(conn, generation, _sequences(taken))
        if parts:
            decisions.prepare(conn)
    check()
    if parts:
        decisions.copy(conn, parts)
    with conn.pipeline():
        for version in {o.version.version: o.version for o in outcomes if o.version}.values():
            models.write_version(conn, version)
        inserted = decisions.merge(conn) if parts else lambda: 0
        if parts and tells:
            decided.tell(conn)
        _facts(conn, generation, outcomes, noted)
        conn.execute(COMMIT)
    return inserted()


def _facts(
    conn: Conn, generation: int, outcomes: Sequence[Outcome], noted: Mapping[str, int]
) -> None:
    """Writes all but decisions and new versions."""
    used = versions_used(outcomes)
    models.use_versions(conn, {name: at for name, at in used.items() if noted.get(name, 0) < at})
    told = [o.labels for o in outcomes if o.labels is not None]
    if told:
        labels.write(conn, Labels.concat(told))
    for outcome in outcomes:
        if outcome.dead is not None:
            dead_letters.write(conn, outcome.dead)
    models.write_metrics(conn, [metric for o in outcomes for metric in o.metrics])
    marks: dict[tuple[str, int], int] = {}
    for outcome in outcomes:
        marks |= outcome.marks
    progress.mark(conn, generation, marks)


def _sequences(taken: Sequence[tuple[str, Outcome]]) -> dict[str, int]:
    """The last step of each partition."""
    return dict(sorted((partition, outcome.number) for partition, outcome in taken))


def versions_used(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """The model versions that decisions name, and until when (event time, microseconds). In whole
    days and one more, so that a version is noted once a day and not with every transaction."""
    used: dict[str, int] = {}
    for outcome in outcomes:
        part = outcome.decisions
        if part is not None and len(part):
            until = (int(part.batch.event_time.max()) // DAY + 2) * DAY
            used[part.model_version] = max(until, used.get(part.model_version, until))
    return used

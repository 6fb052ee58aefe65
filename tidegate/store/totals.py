"""How many alerts, labels, frauds and dead letters there are: kept as they are written, by triggers
of the database (migration 0015) and by `tidegate.store.dead_letters`.

What is deleted by TimescaleDB's policies, or counted by two who labelled one payment in the same
moment, is put right by `recount`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.store.connection import Conn

READ = """
SELECT kind, key, state, sum(count)::bigint FROM total
GROUP BY kind, key, state HAVING sum(count) > 0 ORDER BY kind, key, state
"""

# One statement sees one moment: what others add meanwhile is in neither sum, and stays.
RECOUNT = """
WITH counted AS (
    SELECT 'alert' AS kind, decision AS key, status AS state, count(*) AS number
    FROM alert GROUP BY decision, status
    UNION ALL SELECT 'label', source, '', count(*) FROM label GROUP BY source
    UNION ALL SELECT 'fraud', '', '', count(*) FROM standing_label WHERE fraud
    UNION ALL SELECT 'dead_letter', reason, '', count(*) FROM dead_letter GROUP BY reason
), kept AS (
    SELECT kind, key, state, sum(count)::bigint AS number FROM total GROUP BY kind, key, state
), wrong AS MATERIALIZED (
    SELECT kind, key, state, coalesce(counted.number, 0) - coalesce(kept.number, 0) AS missing
    FROM counted FULL JOIN kept USING (kind, key, state)
    WHERE coalesce(counted.number, 0) <> coalesce(kept.number, 0)
    ORDER BY kind, key, state
)
SELECT add_to_total(kind, key, state, missing) FROM wrong
"""


@dataclass(slots=True)
class Kept:
    """What there is."""

    alerts: dict[tuple[str, str], int] = field(default_factory=dict)  # by decision and status
    labels: dict[str, int] = field(default_factory=dict)  # received, by source
    frauds: int = 0  # transactions whose standing label says so
    dead_letters: dict[str, int] = field(default_factory=dict)  # by reason


def read(conn: Conn) -> Kept:
    """The totals of this moment."""
    kept = Kept()
    sums: Mapping[str, dict[str, int]] = {"label": kept.labels, "dead_letter": kept.dead_letters}
    for kind, key, state, number in conn.execute(READ):
        if kind == "alert":
            kept.alerts[key, state] = number
        elif kind == "fraud":
            kept.frauds = number
        else:
            sums[kind][key] = number
    return kept


def recount(conn: Conn) -> int:
    """Counts everything anew, which reads all of it, and puts totals right; returns how many were
    wrong. Others may write meanwhile."""
    return conn.execute(RECOUNT).rowcount

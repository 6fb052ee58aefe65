"""Alerts like another one: of the same card, at the same terminal, or for the same first reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row

from tidegate.store.alerts import COLUMNS, Alert

NEAREST = 50  # alerts that are looked at on either side in time, for each way of being alike

# What two alerts share, and how much that makes them alike: each more than all after it.
WEIGHTS = {"card": 4, "terminal": 2, "reason": 1}
_SHARED = {
    "card": "card_token = this.card_token",
    "terminal": "terminal_id = this.terminal_id",
    "reason": "reasons -> 0 ->> 'code' = this.reasons -> 0 ->> 'code'",
}

# From the alert's own place in an index of lists, some rows in both directions.
_SIDES = (("<=", "DESC, alert_id"), (">=", ", alert_id DESC"))
_NEAR = " UNION ALL ".join(
    f"""
    SELECT near.alert_id, near.event_time, '{why}' AS why FROM this CROSS JOIN LATERAL (
        SELECT alert_id, event_time FROM alert
        WHERE {condition} AND created_at {side} this.created_at
        ORDER BY created_at {order} LIMIT {NEAREST + 1}
    ) AS near
    """
    for why, condition in _SHARED.items()
    for side, order in _SIDES
)
_WEIGHT = " ".join(f"WHEN '{why}' THEN {weight}" for why, weight in WEIGHTS.items())

SIMILAR = f"""
WITH this AS MATERIALIZED (SELECT * FROM alert WHERE alert_id = %(alert_id)s),
near AS ({_NEAR}),
found AS (
    SELECT DISTINCT near.alert_id, near.why, near.event_time - this.event_time AS apart
    FROM near CROSS JOIN this
    WHERE near.alert_id <> this.alert_id
    AND near.event_time BETWEEN this.event_time - INTERVAL '7 days'
                            AND this.event_time + INTERVAL '7 days'
)
SELECT alert_id, array_agg(why ORDER BY CASE why {_WEIGHT} END DESC) AS why
FROM found GROUP BY alert_id
ORDER BY sum(CASE why {_WEIGHT} END) DESC, greatest(min(apart), -min(apart)), alert_id
LIMIT %(limit)s
"""

ALERTS = f"SELECT {COLUMNS.as_string(None)} FROM alert WHERE alert_id = ANY(%(ids)s)"


@dataclass(frozen=True, slots=True)
class SimilarAlert:
    """An alert and what it shares with the one that was asked for."""

    alert: Alert
    why: Sequence[str]  # of card, terminal and reason; the weightiest first


def similar(conn: Connection[Any], alert_id: UUID, *, limit: int) -> list[SimilarAlert]:
    """At most `limit` alerts that share a card, a terminal or the code of the first reason with
    this one, and whose payments are within a week of its own. Those that share more weighty things
    come first (WEIGHTS), then those whose payments are nearer in time.

    Of each kind the NEAREST ones on either side are looked at, by when they were raised. An alert
    that is not there has none.
    """
    found = conn.execute(SIMILAR, {"alert_id": alert_id, "limit": limit}).fetchall()
    with conn.cursor(row_factory=class_row(Alert)) as cursor:
        there = cursor.execute(ALERTS, {"ids": [row[0] for row in found]}).fetchall()
    by_id = {alert.alert_id: alert for alert in there}
    return [SimilarAlert(by_id[row[0]], row[1]) for row in found if row[0] in by_id]

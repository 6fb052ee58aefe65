"""What became of alerts, in order: every reader of it keeps a position and reads on from there.

Triggers write the events, in the transaction of the alert. Readers stop before the oldest
transaction that still runs: ids alone skip rows that commit late. So one transaction that runs for
long, of whatever database of the server, holds events back; none is lost by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg import sql
from psycopg.rows import dict_row

from tidegate.store.alerts import COLUMNS, Alert
from tidegate.store.connection import Conn

CHANNEL = "tidegate_alerts"  # that the triggers notify

Kind = Literal["alert.created", "alert.changed"]

LISTEN = "LISTEN tidegate_alerts"

# Everything before the oldest transaction that still runs has been told; ids begin at 1.
NOW = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text"

# An alert that was deleted since has no row, and its event says nothing.
AFTER = sql.SQL(
    """
SELECT e.xid::text AS event_xid, e.id AS event_id, e.at AS event_at, e.kind, {columns}
FROM (
    SELECT xid, id, at, kind, alert_id FROM alert_event
    WHERE (xid, id) > (%(xid)s::text::xid8, %(id)s)
        AND xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xid, id LIMIT %(limit)s
) AS e LEFT JOIN alert USING (alert_id)
ORDER BY e.xid, e.id
"""
).format(columns=COLUMNS)

# Events behind it may be gone, or it is of another database's life: a backup knows less.
KNOWN = """
SELECT (%(xid)s::text::xid8, %(id)s) >= (xid, id)
    AND %(xid)s::text::xid8 <= pg_snapshot_xmax(pg_current_snapshot())
FROM alert_event_position WHERE name = 'deleted'
"""

_TEXT = re.compile(r"([0-9]{1,20})-([0-9]{1,19})")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Between two events: after the one with this transaction and id."""

    xid: int  # 0 to 2 ** 64 - 1
    id: int  # 0 to 2 ** 63 - 1

    def __str__(self) -> str:
        return f"{self.xid}-{self.id}"

    @classmethod
    def read(cls, text: str) -> Position:
        """What `str` wrote. Raises ValueError."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError("no position")
        xid, number = int(match[1]), int(match[2])
        if xid >= 2**64 or number >= 2**63:
            raise ValueError("no position")
        return cls(xid, number)


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """One event, and its alert as it is when it is read: at the event's version or a later one."""

    position: Position
    at: datetime  # aware, UTC; the start of the transaction
    kind: Kind
    alert: Alert | None  # None: deleted since


def now(conn: Conn) -> Position:
    """The position from which on everything is still to be told."""
    (xid,) = conn.execute(NOW).fetchone() or (0,)
    return Position(int(xid), 0)


def after(conn: Conn, position: Position, *, limit: int) -> list[AlertEvent]:
    """At most `limit` events after the position, in order. Fewer say that there are no more yet."""
    values = {"xid": str(position.xid), "id": position.id, "limit": limit}
    with conn.cursor(row_factory=dict_row) as cursor:
        return [_event(row) for row in cursor.execute(AFTER, values)]


def known(conn: Conn, position: Position) -> bool:
    """Whether all events after the position are still there."""
    values = {"xid": str(position.xid), "id": position.id}
    (found,) = conn.execute(KNOWN, values).fetchone() or (False,)
    return bool(found)


def _event(row: dict[str, Any]) -> AlertEvent:
    position = Position(int(row.pop("event_xid")), row.pop("event_id"))
    at, kind = row.pop("event_at"), row.pop("kind")
    # The id is the event's, the rest the alert's.
    alert = None if row["transaction_id"] is None else Alert(**row)
    return AlertEvent(position, at, kind, alert)

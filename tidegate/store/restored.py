"""Events in a database that was restored from a dump: their transactions are those of another life.

Numbers of transactions begin anew in another server. Events with numbers that are still to come
would hide, and turn up as new when they are reached; and who goes on from such a number would see
nothing until then.
"""

from __future__ import annotations

from tidegate.store.connection import Conn

FOREIGN = """
SELECT EXISTS (
    SELECT FROM alert_event_position WHERE xid > pg_snapshot_xmax(pg_current_snapshot())
) OR EXISTS (
    SELECT FROM alert_event WHERE xid > pg_snapshot_xmax(pg_current_snapshot())
)
"""

# What was made into deliveries already has no more use: who streams is told to read the list anew.
ADOPT = """
UPDATE alert_event AS e SET xid = pg_current_xact_id()
FROM alert_event_position AS p
WHERE p.name = 'delivered' AND (e.xid, e.id) > (p.xid, p.id)
    AND e.xid > pg_snapshot_xmax(pg_current_snapshot())
"""
FORGET = """
DELETE FROM alert_event
WHERE xid > pg_snapshot_xmax(pg_current_snapshot()) AND xid <> pg_current_xact_id()
"""
BEGIN = "UPDATE alert_event_position SET xid = '0', id = 0"


def renew(conn: Conn) -> bool:
    """Makes the events that no delivery was made of those of this transaction, and takes away the
    others; says whether there was anything to do."""
    (foreign,) = conn.execute(FOREIGN).fetchone() or (False,)
    if not foreign:
        return False
    for statement in (ADOPT, FORGET, BEGIN):
        conn.execute(statement)
    return True

"""Events go on after a restore into a server whose transactions have smaller numbers."""

from __future__ import annotations

from uuid import UUID

from tests.api.rows import put_alert, put_webhook
from tidegate.store import alert_events, outbox, restored
from tidegate.store.alert_events import AlertEvent, Position
from tidegate.store.connection import Conn

AHEAD = 10**9


def restore(conn: Conn) -> None:
    """As if all of it came from a server that had made a billion transactions more."""
    for table in ("alert_event", "alert_event_position"):
        conn.execute(f"UPDATE {table} SET xid = (xid::text::bigint + {AHEAD})::text::xid8")
    conn.commit()


def render(event: AlertEvent) -> tuple[str, str]:
    return f"evt_{event.position.id}", "{}"


def put(conn: Conn) -> UUID:
    alert_id = put_alert(conn, 1)
    conn.commit()
    return alert_id


def sent(conn: Conn) -> list[UUID]:
    while outbox.make(conn, render, limit=100):
        conn.commit()
    conn.commit()
    rows = conn.execute("SELECT alert_id FROM webhook_delivery ORDER BY delivery_id").fetchall()
    return [alert_id for (alert_id,) in rows]


def test_after_a_restore_each_event_is_sent_once_and_readers_begin_anew(conn: Conn) -> None:
    put_webhook(conn)
    conn.commit()
    told = put(conn)
    assert sent(conn) == [told]
    before = alert_events.now(conn)
    waiting = put(conn)  # an event that no delivery was made of when the dump was taken
    restore(conn)
    assert sent(conn) == [told]
    assert restored.renew(conn)
    conn.commit()
    new = put(conn)
    assert sent(conn) == [told, waiting, new]
    assert not alert_events.known(conn, Position(before.xid + AHEAD, 0))
    assert alert_events.known(conn, alert_events.now(conn))
    assert len(alert_events.after(conn, Position(0, 0), limit=10)) == 2


def test_without_a_restore_there_is_nothing_to_do(conn: Conn) -> None:
    put(conn)
    assert not restored.renew(conn)
    conn.execute("SELECT pg_current_xact_id()")
    assert not restored.renew(conn)

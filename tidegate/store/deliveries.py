"""What was sent to webhooks, or is still to be: the log of the outbox (`store.outbox`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row

from tidegate.store.connection import Conn

_COLUMNS = sql.SQL(
    "delivery_id, webhook_id, event_id, kind, alert_id, state, attempts, at, next_at, tried_at,"
    " status_code, error, seconds"
)
PAGE = sql.SQL(
    """
SELECT {columns} FROM webhook_delivery
WHERE webhook_id = %(webhook_id)s AND delivery_id < coalesce(%(after)s::bigint, 9223372036854775807)
ORDER BY delivery_id DESC LIMIT %(limit)s
"""
).format(columns=_COLUMNS)
PING = sql.SQL(
    """
WITH made AS (
    INSERT INTO webhook_delivery (webhook_id, event_id, kind, body)
    VALUES (%(webhook_id)s, %(event_id)s, 'ping', %(body)s) RETURNING {columns}
), audited AS (
    INSERT INTO audit (actor, action, subject, after)
    SELECT %(actor)s, 'webhook.test', webhook_id::text,
        jsonb_build_object('delivery_id', delivery_id)
    FROM made
)
SELECT {columns} FROM made
"""
).format(columns=_COLUMNS)
REPEAT = sql.SQL(
    """
WITH again AS (
    UPDATE webhook_delivery SET state = 'pending', attempts = 0, next_at = now()
    WHERE webhook_id = %(webhook_id)s AND delivery_id = %(delivery_id)s AND state <> 'pending'
    RETURNING {columns}
), audited AS (
    INSERT INTO audit (actor, action, subject, after)
    SELECT %(actor)s, 'webhook.redeliver', webhook_id::text,
        jsonb_build_object('delivery_id', delivery_id)
    FROM again
)
SELECT {columns} FROM again
"""
).format(columns=_COLUMNS)
EXISTS = """
SELECT EXISTS (
    SELECT FROM webhook_delivery
    WHERE webhook_id = %(webhook_id)s AND delivery_id = %(delivery_id)s
)
"""


class NoSuchDelivery(LookupError):
    """The webhook has no delivery of that id."""


class Waiting(Exception):
    """It has not come to its end yet."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook, and what became of it."""

    delivery_id: int
    webhook_id: UUID
    event_id: str  # the same for all webhooks, and however often it is sent
    kind: str
    alert_id: UUID | None
    state: str  # pending, delivered or failed
    attempts: int
    at: datetime  # when it was made; aware, UTC, as all times here
    next_at: datetime | None  # of a pending one
    tried_at: datetime | None
    status_code: int | None  # of the newest answer
    error: str | None
    seconds: float | None  # that the newest try took


def page(conn: Conn, webhook_id: UUID, *, limit: int, after: int | None = None) -> list[Delivery]:
    """At most `limit` deliveries of a webhook, newest first; `after` is the last one's id of the
    page before."""
    values = {"webhook_id": webhook_id, "limit": limit, "after": after}
    with conn.cursor(row_factory=class_row(Delivery)) as cursor:
        return cursor.execute(PAGE, values).fetchall()


def ping(conn: Conn, webhook_id: UUID, event_id: str, body: str, *, actor: str) -> Delivery:
    """Makes a delivery that only shows whether it arrives."""
    values = {"webhook_id": webhook_id, "event_id": event_id, "body": body, "actor": actor}
    with conn.cursor(row_factory=class_row(Delivery)) as cursor:
        made = cursor.execute(PING, values).fetchone()
    assert made is not None
    return made


def repeat(conn: Conn, webhook_id: UUID, delivery_id: int, *, actor: str) -> Delivery:
    """Makes a delivery that came to its end once more, from its first try. Raises NoSuchDelivery
    and Waiting."""
    values = {"webhook_id": webhook_id, "delivery_id": delivery_id}
    with conn.cursor(row_factory=class_row(Delivery)) as cursor:
        again = cursor.execute(REPEAT, values | {"actor": actor}).fetchone()
    if again is not None:
        return again
    (there,) = conn.execute(EXISTS, values).fetchone() or (False,)
    if there:
        raise Waiting
    raise NoSuchDelivery(delivery_id)

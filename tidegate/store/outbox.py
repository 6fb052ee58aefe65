"""The outbox of webhooks: events become deliveries, are claimed, tried, and tried again.

Several processes may work on it at once. A delivery is claimed for a minute: one whose process dies
is claimed again after that, so each is made at least once. Secrets come as they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import class_row

from tidegate.store import alert_events
from tidegate.store.alert_events import AlertEvent, Position
from tidegate.store.connection import Conn

CLAIMED_SECONDS = 60  # longer than any try takes
FAILING_DAYS = 3  # without any success, after which a webhook is disabled
MOST_WAITING = 100_000  # deliveries of one webhook, some 200 MB; with more it is disabled

DELIVERED = "SELECT xid::text, id FROM alert_event_position WHERE name = 'delivered'"
# One process at a time makes deliveries of events; the others go on with what there is.
TAKE_TURN = f"{DELIVERED} FOR UPDATE SKIP LOCKED"
ADVANCE = """
UPDATE alert_event_position SET xid = %(xid)s::text::xid8, id = %(id)s WHERE name = 'delivered'
"""
WANTED = "SELECT EXISTS (SELECT FROM webhook WHERE status = 'enabled')"
MAKE = """
INSERT INTO webhook_delivery (webhook_id, event_id, kind, alert_id, body)
SELECT w.webhook_id, e.event_id, e.kind, e.alert_id, e.body
FROM unnest(
    %(ids)s::text[], %(kinds)s::text[], %(alerts)s::uuid[], %(bodies)s::text[],
    %(times)s::timestamptz[]
) WITH ORDINALITY AS e (event_id, kind, alert_id, body, at, n)
JOIN webhook AS w ON w.status = 'enabled' AND e.kind = ANY(w.kinds) AND e.at >= w.enabled_at
ORDER BY e.n
ON CONFLICT DO NOTHING
"""

# Each webhook has places of its own, so that none waits for another one's endpoint.
CLAIM = """
WITH due AS MATERIALIZED (
    SELECT d.delivery_id
    FROM webhook AS w
    LEFT JOIN unnest(%(busy)s::uuid[], %(taken)s::integer[]) AS b (webhook_id, taken)
        USING (webhook_id)
    CROSS JOIN LATERAL (
        SELECT delivery_id FROM webhook_delivery
        WHERE webhook_id = w.webhook_id AND state = 'pending' AND next_at <= now()
        ORDER BY next_at LIMIT %(places)s - coalesce(b.taken, 0)
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS d
    WHERE w.status = 'enabled' AND coalesce(b.taken, 0) < %(places)s
)
UPDATE webhook_delivery AS d SET
    attempts = d.attempts + 1, tried_at = now(), next_at = now() + %(claim)s * interval '1 second'
FROM due, webhook AS w
WHERE d.delivery_id = due.delivery_id AND w.webhook_id = d.webhook_id
RETURNING
    d.delivery_id, d.webhook_id, d.event_id, d.kind, d.body, d.attempts, w.url, w.secret,
    CASE WHEN w.previous_until > now() THEN w.previous_secret END AS previous_secret
"""

# By the number of the try: one that took longer than its claim has been claimed again.
RECORD = """
UPDATE webhook_delivery AS d SET
    state = r.state, next_at = now() + r.wait * interval '1 second',
    status_code = r.status_code, error = r.error, seconds = r.seconds
FROM unnest(
    %(ids)s::bigint[], %(attempts)s::integer[], %(states)s::text[], %(waits)s::float8[],
    %(codes)s::integer[], %(errors)s::text[], %(seconds)s::float8[]
) AS r (delivery_id, attempts, state, wait, status_code, error, seconds)
WHERE d.delivery_id = r.delivery_id AND d.attempts = r.attempts AND d.state = 'pending'
"""
FAILS = """
UPDATE webhook SET failing_since = now()
WHERE webhook_id = ANY(%(ids)s) AND failing_since IS NULL
"""
SUCCEEDS = """
UPDATE webhook SET delivered_at = now(), failing_since = NULL
WHERE webhook_id = ANY(%(ids)s) AND (
    failing_since IS NOT NULL OR delivered_at IS NULL
    OR delivered_at < now() - interval '1 minute'
)
"""
DISABLE = """
WITH judged AS (
    SELECT webhook_id, CASE
        WHEN failing_since < now() - %(days)s * interval '1 day'
            THEN 'no delivery was taken for ' || %(days)s || ' days'
        WHEN (
            SELECT count(*) FROM (
                SELECT FROM webhook_delivery AS d
                WHERE d.webhook_id = w.webhook_id AND d.state = 'pending' LIMIT %(most)s + 1
            ) AS waiting
        ) > %(most)s THEN 'more than ' || %(most)s || ' deliveries waited'
    END AS why
    FROM webhook AS w WHERE status = 'enabled'
), disabled AS (
    UPDATE webhook AS w SET
        status = 'disabled', disabled_because = j.why, version = version + 1, changed_at = now()
    FROM judged AS j WHERE w.webhook_id = j.webhook_id AND j.why IS NOT NULL
    RETURNING w.webhook_id, j.why
), audited AS (
    INSERT INTO audit (actor, action, subject, after)
    SELECT 'tidegate', 'webhook.disable', webhook_id::text, jsonb_build_object('because', why)
    FROM disabled
)
SELECT webhook_id, why FROM disabled
"""
OLDEST = """
SELECT coalesce(max(extract(epoch FROM now() - d.at)), 0)::float8
FROM webhook AS w CROSS JOIN LATERAL (
    SELECT at FROM webhook_delivery
    WHERE webhook_id = w.webhook_id AND state = 'pending' ORDER BY next_at LIMIT 1
) AS d
WHERE w.status = 'enabled'
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this process is to make now."""

    delivery_id: int
    webhook_id: UUID
    event_id: str
    kind: str
    body: str = field(repr=False)
    attempts: int  # with this one
    url: str = field(repr=False)
    secret: str = field(repr=False)  # sealed, as the next
    previous_secret: str | None = field(repr=False)  # while it signs, too


@dataclass(frozen=True, slots=True)
class Tried:
    """How a try went."""

    claimed: Claimed
    wait: float | None  # seconds to the next one; None: it was taken, or is given up
    status_code: int | None
    error: str | None  # None: it was taken
    seconds: float

    @property
    def state(self) -> str:
        """Of the delivery, from now on."""
        if self.error is None:
            return "delivered"
        return "failed" if self.wait is None else "pending"


def make(conn: Conn, render: Callable[[AlertEvent], tuple[str, str]], *, limit: int) -> int:
    """Makes deliveries of at most `limit` events, for each webhook that wants them; says of how
    many. `render` gives an event's id, as it is known outside, and the body."""
    seen = _position(conn, DELIVERED)
    # A lock is written, too, and most of the time there is nothing to do.
    if seen is None or not alert_events.after(conn, seen, limit=1):
        return 0
    position = _position(conn, TAKE_TURN)
    if position is None:
        return 0
    events = alert_events.after(conn, position, limit=limit)
    if not events:
        return 0
    # Before it is asked who wants them: what a webhook that is made meanwhile wants comes after it.
    now = alert_events.now(conn)
    (wanted,) = conn.execute(WANTED).fetchone() or (False,)
    if not wanted:
        _advance(conn, now)
        return 0
    _insert(conn, [event for event in events if event.alert is not None], render)
    _advance(conn, events[-1].position)
    return len(events)


def claim(conn: Conn, busy: Mapping[UUID, int], *, places: int) -> list[Claimed]:
    """Deliveries that are due, as many for each webhook as it has places free; `busy` says how many
    are taken."""
    values = {
        "busy": list(busy),
        "taken": list(busy.values()),
        "places": places,
        "claim": CLAIMED_SECONDS,
    }
    with conn.cursor(row_factory=class_row(Claimed)) as cursor:
        return cursor.execute(CLAIM, values).fetchall()


def record(conn: Conn, tried: Sequence[Tried]) -> None:
    """Writes how tries went."""
    if not tried:
        return
    values = {
        "ids": [one.claimed.delivery_id for one in tried],
        "attempts": [one.claimed.attempts for one in tried],
        "states": [one.state for one in tried],
        "waits": [one.wait for one in tried],
        "codes": [one.status_code for one in tried],
        "errors": [one.error for one in tried],
        "seconds": [one.seconds for one in tried],
    }
    conn.execute(RECORD, values)
    # A ping that fails says nothing that the one who sent it does not see.
    conn.execute(
        FAILS, {"ids": _webhooks(t for t in tried if t.error and t.claimed.kind != "ping")}
    )
    conn.execute(SUCCEEDS, {"ids": _webhooks(t for t in tried if t.error is None)})


def disable(conn: Conn) -> list[tuple[UUID, str]]:
    """Disables webhooks that take nothing any more; tells which, and why."""
    values = {"days": FAILING_DAYS, "most": MOST_WAITING}
    return [(of, str(why)) for of, why in conn.execute(DISABLE, values)]


def oldest_seconds(conn: Conn) -> float:
    """The age of what waits longest: of each webhook, what is due first is looked at."""
    (seconds,) = conn.execute(OLDEST).fetchone() or (0.0,)
    return float(seconds)


def _insert(
    conn: Conn, events: Sequence[AlertEvent], render: Callable[[AlertEvent], tuple[str, str]]
) -> None:
    rendered = [render(event) for event in events]
    values: dict[str, Any] = {
        "ids": [name for name, _ in rendered],
        "kinds": [event.kind for event in events],
        "alerts": [event.alert.alert_id for event in events if event.alert is not None],
        "bodies": [body for _, body in rendered],
        "times": [event.at for event in events],
    }
    conn.execute(MAKE, values)


def _position(conn: Conn, query: LiteralString) -> Position | None:
    row = conn.execute(query).fetchone()
    return None if row is None else Position(int(row[0]), row[1])


def _advance(conn: Conn, position: Position) -> None:
    conn.execute(ADVANCE, {"xid": str(position.xid), "id": position.id})


def _webhooks(tried: Iterable[Tried]) -> list[UUID]:
    return list({one.claimed.webhook_id for one in tried})

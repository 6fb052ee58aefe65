"""Where events are sent to, and by whom that was said. What is sent is in `store.deliveries`.

Secrets come and go as they are stored (`tidegate.sealing`). The audit keeps what it has for ever,
so of a URL it has only where it leads to: many systems have a secret in the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict
from urllib.parse import urlsplit
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tidegate.store.connection import Conn

KINDS = ("alert.created", "alert.changed")
MOST = 50  # webhooks; each has deliveries of its own under way
ROTATION_HOURS = 24  # for which a secret signs beside its successor

_COLUMNS = sql.SQL(
    "webhook_id, url, description, kinds, status, disabled_because, version, created_at,"
    " created_by, changed_at, enabled_at, delivered_at, failing_since, previous_until"
)
_CHANGEABLE = ("url", "description", "kinds", "status")

PAGE = sql.SQL(
    """
SELECT {columns} FROM webhook
WHERE %(at)s::timestamptz IS NULL
    OR created_at <= %(at)s AND (created_at < %(at)s OR webhook_id > %(id)s)
ORDER BY created_at DESC, webhook_id LIMIT %(limit)s
"""
).format(columns=_COLUMNS)

GET = sql.SQL("SELECT {columns} FROM webhook WHERE webhook_id = %(webhook_id)s").format(
    columns=_COLUMNS
)

# Two at once may make one too many; the number only keeps many from being made by mistake.
CREATE = sql.SQL(
    """
INSERT INTO webhook (url, description, kinds, secret, created_by)
SELECT %(url)s, %(description)s, %(kinds)s, %(secret)s, %(actor)s
WHERE (SELECT count(*) FROM webhook) < %(most)s
RETURNING {columns}
"""
).format(columns=_COLUMNS)

# Who is enabled again gets what happens from then on, and has never failed.
CHANGE = sql.SQL(
    """
UPDATE webhook SET
    url = %(url)s, description = %(description)s, kinds = %(kinds)s, status = %(status)s,
    disabled_because = CASE WHEN status = %(status)s THEN disabled_because END,
    enabled_at = CASE WHEN status = %(status)s THEN enabled_at ELSE now() END,
    failing_since = CASE WHEN status = %(status)s THEN failing_since END,
    version = version + 1, changed_at = now()
WHERE webhook_id = %(webhook_id)s AND version = %(version)s
RETURNING {columns}
"""
).format(columns=_COLUMNS)

ROTATE = sql.SQL(
    """
UPDATE webhook SET
    previous_secret = secret, previous_until = now() + %(hours)s * interval '1 hour',
    secret = %(secret)s, version = version + 1, changed_at = now()
WHERE webhook_id = %(webhook_id)s AND version = %(version)s
RETURNING {columns}
"""
).format(columns=_COLUMNS)

DELETE = sql.SQL(
    """
DELETE FROM webhook WHERE webhook_id = %(webhook_id)s AND version = %(version)s
RETURNING {columns}
"""
).format(columns=_COLUMNS)

AUDIT = """
INSERT INTO audit (actor, action, subject, before, after)
VALUES (%(actor)s, %(action)s, %(subject)s, %(before)s, %(after)s)
"""


class NoSuchWebhook(LookupError):
    """There is no webhook of that id."""


class TooMany(Exception):
    """There are as many webhooks as may be."""

    def __init__(self) -> None:
        super().__init__(f"there are {MOST} webhooks already")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events are sent to."""

    webhook_id: UUID
    url: str
    description: str
    kinds: Sequence[str]  # of events
    status: str  # enabled or disabled
    disabled_because: str | None  # None: somebody did it, or it is enabled
    version: int  # counts changes, from 1
    created_at: datetime  # aware, UTC, as all times here
    created_by: str
    changed_at: datetime | None  # None: never
    enabled_at: datetime  # events from here on are sent
    delivered_at: datetime | None  # of the newest success, to a minute
    failing_since: datetime | None  # None: the newest delivery was taken
    previous_until: datetime | None  # the secret of before signs too until then


class Changed(Exception):
    """Somebody changed it since that version; `webhook` is what it is now."""

    def __init__(self, webhook: Webhook) -> None:
        super().__init__(f"the webhook was changed meanwhile: it is at version {webhook.version}")
        self.webhook = webhook


class Changes(TypedDict, total=False):
    """What a webhook is to be; what is left out stays."""

    url: str
    description: str
    kinds: list[str]
    status: str


def page(conn: Conn, *, limit: int, after: tuple[datetime, UUID] | None = None) -> list[Webhook]:
    """At most `limit` webhooks, newest first; `after` is where the page before ended."""
    at, of = after or (None, None)
    with conn.cursor(row_factory=class_row(Webhook)) as cursor:
        return cursor.execute(PAGE, {"at": at, "id": of, "limit": limit}).fetchall()


def get(conn: Conn, webhook_id: UUID) -> Webhook:
    """One of them. Raises NoSuchWebhook."""
    found = _one(conn, GET, {"webhook_id": webhook_id})
    if found is None:
        raise NoSuchWebhook(webhook_id)
    return found


def create(
    conn: Conn, url: str, description: str, kinds: Sequence[str], *, secret: str, actor: str
) -> Webhook:
    """Makes one, which gets what happens from now on. `secret`: sealed. Raises TooMany."""
    values = {"url": url, "description": description, "kinds": list(kinds), "secret": secret}
    made = _one(conn, CREATE, values | {"actor": actor, "most": MOST})
    if made is None:
        raise TooMany
    _audit(conn, "webhook.create", made.webhook_id, actor, None, _told(made, _CHANGEABLE))
    return made


def change(conn: Conn, webhook_id: UUID, version: int, changes: Changes, *, actor: str) -> Webhook:
    """Changes one that is at this version. Raises NoSuchWebhook and Changed."""
    found = _at_version(conn, webhook_id, version)
    before: dict[str, Any] = {name: getattr(found, name) for name in _CHANGEABLE}
    after = before | changes
    changed = [name for name in _CHANGEABLE if after[name] != before[name]]
    if not changed:
        return found
    written = _one(conn, CHANGE, after | {"webhook_id": webhook_id, "version": version})
    if written is None:  # another one was quicker
        return _at_version(conn, webhook_id, version)
    was, now = _told(found, changed), _told(written, changed)
    _audit(conn, "webhook.change", webhook_id, actor, was, now)
    return written


def rotate(conn: Conn, webhook_id: UUID, version: int, *, secret: str, actor: str) -> Webhook:
    """Gives it another secret, sealed; the one of before also signs for ROTATION_HOURS. Raises
    NoSuchWebhook and Changed."""
    values = {"webhook_id": webhook_id, "version": version}
    written = _one(conn, ROTATE, values | {"secret": secret, "hours": ROTATION_HOURS})
    if written is None:
        return _at_version(conn, webhook_id, version)
    _audit(conn, "webhook.rotate", webhook_id, actor, None, None)
    return written


def delete(conn: Conn, webhook_id: UUID, version: int, *, actor: str) -> None:
    """Takes it away, with its deliveries. Raises NoSuchWebhook and Changed."""
    gone = _one(conn, DELETE, {"webhook_id": webhook_id, "version": version})
    if gone is None:
        _at_version(conn, webhook_id, version)
        return
    _audit(conn, "webhook.delete", webhook_id, actor, _told(gone, _CHANGEABLE), None)


def _one(conn: Conn, query: sql.Composed, values: dict[str, Any]) -> Webhook | None:
    with conn.cursor(row_factory=class_row(Webhook)) as cursor:
        return cursor.execute(query, values).fetchone()


def _at_version(conn: Conn, webhook_id: UUID, version: int) -> Webhook:
    found = get(conn, webhook_id)
    if found.version != version:
        raise Changed(found)
    return found


def _audit(
    conn: Conn,
    action: str,
    webhook_id: UUID,
    actor: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> None:
    values = {
        "actor": actor,
        "action": action,
        "subject": str(webhook_id),
        "before": None if before is None else Jsonb(before),
        "after": None if after is None else Jsonb(after),
    }
    conn.execute(AUDIT, values)


def _told(webhook: Webhook, names: Sequence[str]) -> dict[str, Any]:
    told = {name: getattr(webhook, name) for name in names}
    if "url" in told:
        parts = urlsplit(told["url"])
        told["url"] = f"{parts.scheme}://{parts.netloc}/..."
    return told

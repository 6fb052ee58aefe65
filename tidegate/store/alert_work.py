"""What analysts do with alerts: they change them and say something of them, and the audit has it.

Who changes an alert says which version of it was seen, so that of two at once the second is told
and overwrites nothing. Alerts are read in `store.alerts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tidegate.store import alerts, analyst_labels
from tidegate.store.alerts import COLUMNS, Alert
from tidegate.store.connection import Conn

LONGEST_SNOOZE = timedelta(days=366)  # the same day of the next year, in every year
LONGEST_COMMENT = 4000  # characters

_FIELDS = ("status", "outcome", "assignee", "snoozed_until")

NOW = "SELECT now()"  # of the clock that lists ask for what is snoozed

# Only the version that was seen: another one who is quicker leaves none to change. The audit's row
# comes with the change or not at all.
CHANGE = sql.SQL(
    """
WITH written AS (
    UPDATE alert SET
        status = %(status)s,
        outcome = %(outcome)s,
        assignee = %(assignee)s,
        snoozed_until = %(snoozed_until)s,
        version = version + 1,
        changed_at = now()
    WHERE alert_id = %(alert_id)s AND version = %(version)s
    RETURNING {columns}
), audited AS (
    INSERT INTO audit (actor, action, subject, before, after)
    SELECT %(actor)s, 'alert.change', alert_id::text, %(before)s::jsonb, %(after)s::jsonb
    FROM written
)
SELECT {columns} FROM written
"""
).format(columns=COLUMNS)

# The lock lets an alert's comments be written one after another: one with a smaller number that
# appears after its page was read would be missing from all pages. The audit does not repeat the
# text: it keeps what it has for ever.
COMMENT = """
WITH commented AS (
    SELECT alert_id FROM alert WHERE alert_id = %(alert_id)s FOR NO KEY UPDATE
), written AS (
    INSERT INTO alert_comment (alert_id, author, text)
    SELECT alert_id, %(actor)s::text, %(text)s::text FROM commented
    RETURNING comment_id, alert_id, at, author, text
), audited AS (
    INSERT INTO audit (actor, action, subject, after)
    SELECT author, 'alert.comment', alert_id::text, jsonb_build_object('comment_id', comment_id)
    FROM written
)
SELECT comment_id, alert_id, at, author, text FROM written
"""

COMMENTS = """
SELECT comment_id, alert_id, at, author, text FROM alert_comment
WHERE alert_id = %(alert_id)s AND comment_id > coalesce(%(after)s::bigint, 0)
ORDER BY comment_id LIMIT %(limit)s
"""


class NoSuchAlert(LookupError):
    """There is no alert of that id."""


class Changed(Exception):
    """Somebody changed the alert since that version; `alert` is what it is now."""

    def __init__(self, alert: Alert) -> None:
        super().__init__(f"the alert was changed meanwhile: it is at version {alert.version}")
        self.alert = alert


class CannotChange(ValueError):
    """An alert cannot be like that; `field` is at fault."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field


class Changes(TypedDict, total=False):
    """What an alert is to be; what is left out stays."""

    status: str  # open, investigating or closed
    outcome: str | None  # fraud, genuine or unclear
    assignee: str | None
    snoozed_until: datetime | None  # aware


@dataclass(frozen=True, slots=True)
class Comment:
    """What somebody said of an alert."""

    comment_id: int
    alert_id: UUID
    at: datetime  # aware, UTC
    author: str
    text: str


def change(conn: Conn, alert_id: UUID, version: int, changes: Changes, *, actor: str) -> Alert:
    """Changes an alert that is at this version and writes the audit; returns what it is then.

    An alert is closed with an outcome, which is told as a label (`store.analyst_labels`), and loses
    it when it is opened again. What changes nothing leaves the version as it is. Raises
    NoSuchAlert, Changed and CannotChange. The isolation must be READ COMMITTED: of two at once, the
    second waits for the end of the first one's transaction.
    """
    alert = _at_version(conn, alert_id, version)
    before = {name: getattr(alert, name) for name in _FIELDS}
    after = before | changes
    if after["status"] != "closed" and "outcome" not in changes:
        after["outcome"] = None
    changed = [name for name in _FIELDS if after[name] != before[name]]
    _check(conn, changes, after, changed)
    if not changed:
        return alert
    values = after | {
        "alert_id": alert_id,
        "version": version,
        "actor": actor,
        "before": Jsonb({name: _plain(before[name]) for name in changed}),
        "after": Jsonb({name: _plain(after[name]) for name in changed}),
    }
    with conn.cursor(row_factory=class_row(Alert)) as cursor:
        written = cursor.execute(CHANGE, values).fetchone()
    if written is None:  # another one was quicker
        return _at_version(conn, alert_id, version)
    if "outcome" in changed:
        analyst_labels.closed(conn, [written])
    return written


def comment(conn: Conn, alert_id: UUID, text: str, *, actor: str) -> Comment:
    """Writes a comment (1 to LONGEST_COMMENT characters) and the audit. Raises NoSuchAlert."""
    values = {"alert_id": alert_id, "actor": actor, "text": text}
    with conn.cursor(row_factory=class_row(Comment)) as cursor:
        written = cursor.execute(COMMENT, values).fetchone()
    if written is None:
        raise NoSuchAlert(alert_id)
    return written


def comments(conn: Conn, alert_id: UUID, *, limit: int, after: int | None = None) -> list[Comment]:
    """At most `limit` comments of an alert, oldest first; `after` is the id of the last one of the
    page before. An alert that is not there has none."""
    values = {"alert_id": alert_id, "limit": limit, "after": after}
    with conn.cursor(row_factory=class_row(Comment)) as cursor:
        return cursor.execute(COMMENTS, values).fetchall()


def _at_version(conn: Conn, alert_id: UUID, version: int) -> Alert:
    alert = alerts.get(conn, alert_id)
    if alert is None:
        raise NoSuchAlert(alert_id)
    if alert.version != version:
        raise Changed(alert)
    return alert


def _check(conn: Conn, changes: Changes, after: dict[str, Any], changed: list[str]) -> None:
    """Raises CannotChange where the alert could not be like that afterwards."""
    closed = after["status"] == "closed"
    if after["outcome"] is not None and not closed:
        raise CannotChange("outcome", "only a closed alert has an outcome")
    # One that was closed without, before there were outcomes, may still be assigned.
    if closed and after["outcome"] is None and ("status" in changes or "outcome" in changes):
        raise CannotChange("outcome", "a closed alert needs one: fraud, genuine or unclear")
    until = after["snoozed_until"]
    if "snoozed_until" not in changed or until is None:
        return
    (now,) = conn.execute(NOW).fetchone() or (until,)
    if until <= now:
        raise CannotChange("snoozed_until", "must be in the future")
    if until - now > LONGEST_SNOOZE:
        raise CannotChange("snoozed_until", "must be at most a year ahead")


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value

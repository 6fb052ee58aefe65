"""An analyst's verdict in one step: the alert is closed with an outcome and, maybe, a comment."""

from __future__ import annotations

from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row

from tidegate.store import alert_work
from tidegate.store.alert_work import NoSuchAlert
from tidegate.store.alerts import COLUMNS, Alert
from tidegate.store.connection import Conn

HOLD = sql.SQL(
    "SELECT {columns} FROM alert WHERE alert_id = %(alert_id)s FOR NO KEY UPDATE"
).format(columns=COLUMNS)

SAID = """
SELECT EXISTS (
    SELECT FROM alert_comment
    WHERE alert_id = %(alert_id)s AND author = %(author)s AND text = %(text)s
)
"""


def hold(conn: Conn, alert_id: UUID) -> Alert:
    """The alert, which nobody else changes until this transaction ends. Raises NoSuchAlert."""
    with conn.cursor(row_factory=class_row(Alert)) as cursor:
        alert = cursor.execute(HOLD, {"alert_id": alert_id}).fetchone()
    if alert is None:
        raise NoSuchAlert(alert_id)
    return alert


def stands(alert: Alert, outcome: str) -> bool:
    """Whether the alert is closed with this outcome already."""
    return alert.status == "closed" and alert.outcome == outcome


def dispose(
    conn: Conn, alert: Alert, outcome: str, *, actor: str, comment: str | None = None
) -> Alert:
    """Closes an alert that is held with an outcome (fraud, genuine or unclear), audited and told as
    any other change (`alert_work.change`), and comments on it; returns what it is then.

    Done again, it changes nothing: an outcome that stands is not set again, and what this actor
    said in the same words is not said twice.
    """
    if not stands(alert, outcome):
        changes: alert_work.Changes = {"status": "closed", "outcome": outcome}
        alert = alert_work.change(conn, alert.alert_id, alert.version, changes, actor=actor)
    if comment is not None:
        said = {"alert_id": alert.alert_id, "author": actor, "text": comment}
        (again,) = conn.execute(SAID, said).fetchone() or (False,)
        if not again:
            alert_work.comment(conn, alert.alert_id, comment, actor=actor)
    return alert

"""What analysts do with cases: they take them, and close them together with their alerts.

A case's version counts what becomes of its alerts, too, and alerts that join. So who closes a case
at the version that was seen closes what was seen and nothing else.
"""

from __future__ import annotations

from typing import Any, TypedDict
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tidegate.store import analyst_labels, cases
from tidegate.store.alert_work import CannotChange
from tidegate.store.alerts import COLUMNS as ALERT_COLUMNS
from tidegate.store.alerts import Alert
from tidegate.store.cases import Case
from tidegate.store.connection import Conn

_FIELDS = ("status", "outcome", "assignee")

# Alerts before their case, as a change of one alert locks them; of two at once one then waits for
# the other, and neither for ever.
HOLD_ALERTS = """
SELECT alert_id FROM alert WHERE case_id = %(case_id)s ORDER BY alert_id FOR NO KEY UPDATE
"""

# Only the version that was seen; the audit's row comes with the change or not at all.
CHANGE = """
WITH written AS (
    UPDATE alert_case SET
        status = %(status)s,
        outcome = %(outcome)s,
        assignee = %(assignee)s,
        version = version + 1,
        changed_at = now()
    WHERE case_id = %(case_id)s AND version = %(version)s
    RETURNING case_id
), audited AS (
    INSERT INTO audit (actor, action, subject, before, after)
    SELECT %(actor)s, 'case.change', case_id::text, %(before)s::jsonb, %(after)s::jsonb
    FROM written
)
SELECT case_id FROM written
"""

# Those that are not closed, and those that were closed with the outcome that the case had: others
# were judged by themselves. Each has its own row in the audit, with what changed alone.
CLOSE_ALERTS = sql.SQL(
    """
WITH seen AS (
    SELECT alert_id, status, outcome FROM alert
    WHERE case_id = %(case_id)s AND (status <> 'closed' OR outcome = %(former)s)
), written AS (
    UPDATE alert SET
        status = 'closed', outcome = %(outcome)s, version = alert.version + 1, changed_at = now()
    FROM seen WHERE alert.alert_id = seen.alert_id
    RETURNING {columns}, seen.status AS status_before, seen.outcome AS outcome_before
), audited AS (
    INSERT INTO audit (actor, action, subject, before, after)
    SELECT %(actor)s, 'alert.change', alert_id::text,
        jsonb_build_object('outcome', outcome_before) || CASE WHEN status_before <> 'closed'
            THEN jsonb_build_object('status', status_before) ELSE '{{}}' END,
        jsonb_build_object('outcome', outcome) || CASE WHEN status_before <> 'closed'
            THEN jsonb_build_object('status', status) ELSE '{{}}' END
    FROM written ORDER BY alert_id
)
SELECT {plain} FROM written ORDER BY alert_id
"""
).format(
    columns=sql.SQL("alert.") + sql.SQL(ALERT_COLUMNS.as_string(None).replace(", ", ", alert.")),
    plain=ALERT_COLUMNS,
)


class NoSuchCase(LookupError):
    """There is no case of that id."""


class CaseChanged(Exception):
    """The case, or one of its alerts, was changed since that version, or an alert joined; `case` is
    what it is now."""

    def __init__(self, case: Case) -> None:
        super().__init__(
            "the case was changed meanwhile, or one of its alerts was, or one joined:"
            f" it is at version {case.version}"
        )
        self.case = case


class CaseChanges(TypedDict, total=False):
    """What a case is to be; what is left out stays."""

    status: str  # open, investigating or closed
    outcome: str | None  # fraud, genuine or unclear
    assignee: str | None


def change(conn: Conn, case_id: UUID, version: int, changes: CaseChanges, *, actor: str) -> Case:
    """Changes a case that is at this version and writes the audit; returns what it is then.

    A case is closed with an outcome: that closes its alerts that are not closed, each with this
    outcome, a version and a row in the audit of its own, and each is a label
    (`store.analyst_labels`). Another outcome later is also that of the alerts that had the former
    one. One that is opened again loses its outcome; its alerts stay as they are. Its assignee is
    not its alerts'. What changes nothing leaves the version as it is. Raises NoSuchCase,
    CaseChanged and CannotChange; the caller then rolls back. The isolation must be READ COMMITTED.
    """
    case = _at_version(conn, case_id, version)
    before = {name: getattr(case, name) for name in _FIELDS}
    after: dict[str, Any] = before | changes
    if after["status"] != "closed" and "outcome" not in changes:
        after["outcome"] = None
    _check(after)
    changed = [name for name in _FIELDS if after[name] != before[name]]
    if not changed:
        return case
    values = after | {
        "case_id": case_id,
        "version": version,
        "actor": actor,
        "former": case.outcome,
        "before": Jsonb({name: before[name] for name in changed}),
        "after": Jsonb({name: after[name] for name in changed}),
    }
    judged = "outcome" in changed and after["outcome"] is not None
    if judged:
        conn.execute(HOLD_ALERTS, values)
    if conn.execute(CHANGE, values).fetchone() is None:  # another one was quicker
        _at_version(conn, case_id, version)
    if judged:
        with conn.cursor(row_factory=class_row(Alert)) as cursor:
            analyst_labels.closed(conn, cursor.execute(CLOSE_ALERTS, values).fetchall())
    return _there(conn, case_id)


def _at_version(conn: Conn, case_id: UUID, version: int) -> Case:
    case = _there(conn, case_id)
    if case.version != version:
        raise CaseChanged(case)
    return case


def _there(conn: Conn, case_id: UUID) -> Case:
    case = cases.get(conn, case_id)
    if case is None:
        raise NoSuchCase(case_id)
    return case


def _check(after: dict[str, Any]) -> None:
    """Raises CannotChange where the case could not be like that afterwards."""
    closed = after["status"] == "closed"
    if after["outcome"] is not None and not closed:
        raise CannotChange("outcome", "only a closed case has an outcome")
    if closed and after["outcome"] is None:
        raise CannotChange("outcome", "a closed case needs one: fraud, genuine or unclear")

"""Analysts change alerts and comment on them: nobody overwrites what they have not seen, and the
audit has all of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.api.rows import put_alert
from tidegate.store import alert_work, alerts
from tidegate.store.alert_work import CannotChange, Changed, Changes, NoSuchAlert
from tidegate.store.alerts import Alert, AlertFilter
from tidegate.store.connection import Conn, connect

change = partial(alert_work.change, actor="ann")
comment = partial(alert_work.comment, actor="ann")

CLOSED: Changes = {"status": "closed", "outcome": "fraud"}


@pytest.fixture
def conn(everywhere: Conn) -> Conn:
    return everywhere


@pytest.fixture
def two(database: str) -> Iterator[tuple[Conn, Conn]]:
    """Two analysts' connections."""
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(connect(database, application_name="tidegate-test"))
            for _ in range(2)
        )
        yield first, second
        first.rollback()
        second.rollback()


def now(conn: Conn) -> datetime:
    (moment,) = conn.execute("SELECT now()").fetchone() or (None,)
    assert isinstance(moment, datetime)
    return moment


def there(conn: Conn, alert_id: UUID) -> Alert:
    alert = alerts.get(conn, alert_id)
    assert alert is not None
    return alert


def audited(conn: Conn) -> list[tuple[Any, ...]]:
    rows = conn.execute("SELECT actor, action, subject, before, after FROM audit ORDER BY audit_id")
    return rows.fetchall()


def test_a_new_alert_is_nobodys_at_version_1(conn: Conn) -> None:
    alert = there(conn, put_alert(conn, 1))
    assert (alert.status, alert.version, alert.changed_at) == ("open", 1, None)
    assert (alert.assignee, alert.snoozed_until, alert.outcome) == (None, None, None)


def test_a_change_is_a_new_version_and_what_is_not_named_stays(conn: Conn) -> None:
    alert_id = put_alert(conn, 1)
    other = there(conn, put_alert(conn, 2))
    change(conn, alert_id, 1, {"assignee": "ann"})
    until = now(conn) + timedelta(days=2)
    done = change(conn, alert_id, 2, {"status": "investigating", "snoozed_until": until})
    assert (done.status, done.assignee, done.snoozed_until) == ("investigating", "ann", until)
    assert (done.version, done.changed_at) == (3, now(conn))
    assert there(conn, alert_id) == done
    done = change(conn, alert_id, 3, {"assignee": None, "snoozed_until": None})
    assert (done.status, done.assignee, done.snoozed_until) == ("investigating", None, None)
    assert there(conn, other.alert_id) == other


def test_each_change_is_written_into_the_audit_with_what_changed_alone(conn: Conn) -> None:
    alert_id = put_alert(conn, 1)
    until = now(conn) + timedelta(hours=1)
    change(conn, alert_id, 1, {"status": "open", "assignee": "ann"})
    change(conn, alert_id, 2, {"snoozed_until": until.astimezone()})
    alert_work.change(conn, alert_id, 3, CLOSED, actor="bob")
    subject = "alert.change", str(alert_id)
    assert audited(conn) == [
        ("ann", *subject, {"assignee": None}, {"assignee": "ann"}),
        ("ann", *subject, {"snoozed_until": None}, {"snoozed_until": until.isoformat()}),
        ("bob", *subject, {"status": "open", "outcome": None}, CLOSED),
    ]


def test_what_changes_nothing_is_no_new_version_and_not_in_the_audit(conn: Conn) -> None:
    alert_id = put_alert(conn, 1, assignee="ann", snoozed_until=datetime(2026, 1, 1, tzinfo=UTC))
    alert = there(conn, alert_id)
    same: Changes = {
        "status": "open",
        "outcome": None,
        "assignee": "ann",
        "snoozed_until": alert.snoozed_until,  # though it is over
    }
    for changes in (same, Changes()):
        assert change(conn, alert_id, 1, changes) == alert
    assert there(conn, alert_id) == alert
    assert audited(conn) == []


def test_an_alert_that_is_opened_again_loses_its_outcome(conn: Conn) -> None:
    alert_id = put_alert(conn, 1)
    assert change(conn, alert_id, 1, CLOSED).outcome == "fraud"
    assert change(conn, alert_id, 2, {"outcome": "unclear"}).outcome == "unclear"
    opened = change(conn, alert_id, 3, {"status": "investigating"})
    assert (opened.status, opened.outcome) == ("investigating", None)
    assert audited(conn)[-1][3:] == (
        {"status": "closed", "outcome": "unclear"},
        {"status": "investigating", "outcome": None},
    )


@pytest.mark.parametrize(
    ("changes", "field", "why"),
    [
        ({"status": "closed"}, "outcome", "a closed alert needs one"),
        ({"status": "closed", "outcome": None}, "outcome", "a closed alert needs one"),
        ({"outcome": "fraud"}, "outcome", "only a closed alert has an outcome"),
        ({"status": "open", "outcome": "genuine"}, "outcome", "only a closed alert"),
        ({"assignee": "ann", "outcome": "fraud"}, "outcome", "only a closed alert"),
    ],
)
def test_an_alert_has_an_outcome_when_it_is_closed_and_only_then(
    conn: Conn, changes: Changes, field: str, why: str
) -> None:
    alert = there(conn, put_alert(conn, 1))
    with pytest.raises(CannotChange, match=why) as refused:
        change(conn, alert.alert_id, 1, changes)
    assert refused.value.field == field
    assert there(conn, alert.alert_id) == alert
    assert audited(conn) == []


def test_the_outcome_of_a_closed_alert_is_not_taken_away(conn: Conn) -> None:
    alert_id = put_alert(conn, 1, status="closed", outcome="fraud")
    with pytest.raises(CannotChange, match="needs one"):
        change(conn, alert_id, 1, {"outcome": None})


def test_the_database_itself_refuses_an_outcome_of_an_open_alert(conn: Conn) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        put_alert(conn, 1, outcome="fraud")


def test_an_alert_that_was_closed_before_there_were_outcomes_can_be_assigned(conn: Conn) -> None:
    alert_id = put_alert(conn, 1, status="closed")
    done = change(conn, alert_id, 1, {"assignee": "ann"})
    assert (done.status, done.outcome, done.assignee) == ("closed", None, "ann")
    assert change(conn, alert_id, 2, {"outcome": "genuine"}).outcome == "genuine"


@pytest.mark.parametrize(
    ("ahead", "why"),
    [
        (timedelta(0), "must be in the future"),
        (timedelta(days=-1), "must be in the future"),
        (timedelta(days=366, microseconds=1), "at most a year ahead"),
    ],
)
def test_an_alert_is_snoozed_for_at_most_a_year(conn: Conn, ahead: timedelta, why: str) -> None:
    alert = there(conn, put_alert(conn, 1))
    with pytest.raises(CannotChange, match=why) as refused:
        change(conn, alert.alert_id, 1, {"snoozed_until": now(conn) + ahead})
    assert refused.value.field == "snoozed_until"
    assert there(conn, alert.alert_id) == alert
    longest = now(conn) + timedelta(days=366)
    done = change(conn, alert.alert_id, 1, {"snoozed_until": longest})
    assert done.snoozed_until == longest


def test_a_snooze_ends_by_itself(conn: Conn) -> None:
    over = put_alert(conn, 1, snoozed_until=now(conn))
    snoozed = put_alert(conn, 2, snoozed_until=now(conn) + timedelta(seconds=1))
    never = put_alert(conn, 3)

    def ids(wanted: bool | None) -> list[UUID]:
        page = alerts.page(conn, AlertFilter(snoozed=wanted), limit=9)
        return [alert.alert_id for alert in page]

    assert (ids(True), ids(False), ids(None)) == ([snoozed], [never, over], [never, snoozed, over])


def test_an_alert_that_is_not_there_is_neither_changed_nor_commented_on(conn: Conn) -> None:
    alert_id = put_alert(conn, 1)
    with pytest.raises(NoSuchAlert):
        change(conn, uuid4(), 1, {"assignee": "ann"})
    with pytest.raises(NoSuchAlert):
        comment(conn, uuid4(), "who is it?")
    assert audited(conn) == []
    assert alert_work.comments(conn, alert_id, limit=9) == []


@pytest.mark.parametrize("version", [0, 1, 3])
def test_another_version_than_was_seen_is_not_changed(conn: Conn, version: int) -> None:
    alert_id = put_alert(conn, 1)
    alert = change(conn, alert_id, 1, {"assignee": "bob"})
    for changes in (Changes(assignee="ann"), Changes(assignee="bob")):
        with pytest.raises(Changed) as refused:
            change(conn, alert_id, version, changes)
        assert refused.value.alert == alert
    assert len(audited(conn)) == 1


def test_of_two_analysts_at_once_the_second_is_told(two: tuple[Conn, Conn]) -> None:
    ann, bob = two
    alert_id = put_alert(ann, 1)
    ann.commit()
    assert there(bob, alert_id).version == 1
    done = change(ann, alert_id, 1, {"assignee": "ann"})
    with ThreadPoolExecutor(1) as other:
        late = other.submit(alert_work.change, bob, alert_id, 1, {"assignee": "bob"}, actor="bob")
        with pytest.raises(TimeoutError):
            late.result(0.3)  # it waits for the first one's transaction
        ann.commit()
        with pytest.raises(Changed) as refused:
            late.result(20)
    assert refused.value.alert == done
    bob.rollback()
    assert there(bob, alert_id) == done
    assert [row[0] for row in audited(bob)] == ["ann"]


def test_where_the_first_one_gives_up_the_second_one_changes_it(two: tuple[Conn, Conn]) -> None:
    ann, bob = two
    alert_id = put_alert(ann, 1)
    ann.commit()
    change(ann, alert_id, 1, {"assignee": "ann"})
    with ThreadPoolExecutor(1) as other:
        late = other.submit(alert_work.change, bob, alert_id, 1, {"assignee": "bob"}, actor="bob")
        with pytest.raises(TimeoutError):
            late.result(0.3)
        ann.rollback()
        assert late.result(20).assignee == "bob"
    bob.commit()
    assert [row[0] for row in audited(bob)] == ["bob"]


def test_comments_come_oldest_first_in_pages_and_only_those_of_the_alert(conn: Conn) -> None:
    alert_id, other = put_alert(conn, 1), put_alert(conn, 2)
    written = []
    for n in range(5):
        written.append(comment(conn, alert_id, f"line\n{n}: Café"))
        comment(conn, other, "of another one")
    assert (written[0].author, written[0].at, written[0].alert_id) == ("ann", now(conn), alert_id)
    seen: list[alert_work.Comment] = []
    while page := alert_work.comments(
        conn, alert_id, limit=2, after=seen[-1].comment_id if seen else None
    ):
        seen += page
    assert seen == written


def test_a_comment_changes_no_version_and_its_text_is_not_in_the_audit(conn: Conn) -> None:
    alert = there(conn, put_alert(conn, 1))
    written = comment(conn, alert.alert_id, "the card's owner is Mr. N.")
    assert there(conn, alert.alert_id) == alert
    after = {"comment_id": written.comment_id}
    assert audited(conn) == [("ann", "alert.comment", str(alert.alert_id), None, after)]


@pytest.mark.parametrize("text", ["", "x" * 4001])
def test_a_comment_has_1_to_4000_characters(conn: Conn, text: str) -> None:
    alert_id = put_alert(conn, 1)
    assert comment(conn, alert_id, "é" * 4000).text == "é" * 4000
    with pytest.raises(psycopg.errors.CheckViolation):
        comment(conn, alert_id, text)


def test_comments_of_an_alert_are_numbered_in_the_order_they_can_be_read(
    two: tuple[Conn, Conn],
) -> None:
    ann, bob = two
    alert_id = put_alert(ann, 1)
    ann.commit()
    first = comment(ann, alert_id, "first")
    with ThreadPoolExecutor(1) as other:
        late = other.submit(alert_work.comment, bob, alert_id, "second", actor="bob")
        with pytest.raises(TimeoutError):
            late.result(0.3)
        ann.commit()
        second = late.result(20)
    bob.commit()
    assert second.comment_id > first.comment_id
    assert alert_work.comments(ann, alert_id, limit=9) == [first, second]


def test_comments_go_with_their_alert(conn: Conn) -> None:
    alert_id, other = put_alert(conn, 1), put_alert(conn, 2)
    comment(conn, alert_id, "gone")
    kept = comment(conn, other, "kept")
    conn.execute("DELETE FROM alert WHERE alert_id = %s", (alert_id,))
    assert alert_work.comments(conn, alert_id, limit=9) == []
    assert alert_work.comments(conn, other, limit=9) == [kept]

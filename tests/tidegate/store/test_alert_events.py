"""Every change of an alert is an event, and readers skip none, whoever commits late."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from tests.api.rows import put_alert
from tests.tidegate.store.conftest import MakeDecisions
from tidegate.schema import Decision
from tidegate.settings import Retention
from tidegate.store import alert_events, alert_work, decisions, policies, retention
from tidegate.store.alert_events import CHANNEL, Position
from tidegate.store.connection import Conn, connect

BEGIN = Position(0, 0)


@pytest.fixture
def other(database: str) -> Iterator[Conn]:
    with connect(database, application_name="tidegate-test") as opened:
        yield opened
        opened.rollback()


def told(conn: Conn, after: Position = BEGIN) -> list[tuple]:
    events = alert_events.after(conn, after, limit=1000)
    conn.commit()
    return [(e.kind, e.alert.alert_id, e.alert.version) for e in events if e.alert]


def test_a_new_alert_and_each_change_of_it_is_an_event(conn: Conn) -> None:
    alert_id = put_alert(conn, 1)
    conn.commit()
    alert_work.change(conn, alert_id, 1, {"assignee": "ann"}, actor="ann")
    conn.commit()
    events = alert_events.after(conn, BEGIN, limit=10)
    assert [event.kind for event in events] == ["alert.created", "alert.changed"]
    assert [event.alert.assignee for event in events if event.alert] == ["ann", "ann"]
    assert conn.execute("SELECT version FROM alert_event ORDER BY id").fetchall() == [(1,), (2,)]


def test_what_is_written_by_hand_is_an_event_too_and_what_changes_nothing_is_none(
    conn: Conn,
) -> None:
    put_alert(conn, 1)
    conn.commit()
    conn.execute("UPDATE alert SET status = 'open'")
    conn.commit()
    assert len(told(conn)) == 1
    conn.execute("UPDATE alert SET status = 'investigating'")
    conn.commit()
    assert [kind for kind, *_ in told(conn)] == ["alert.created", "alert.changed"]


def test_decisions_that_are_written_again_make_no_second_event(
    conn: Conn, decided: MakeDecisions
) -> None:
    part = decided(["a", "b", "c"], decisions=[Decision.REVIEW, Decision.APPROVE, Decision.DECLINE])
    decisions.write(conn, [part])
    conn.commit()
    decisions.write(conn, [part])
    conn.commit()
    assert [kind for kind, *_ in told(conn)] == ["alert.created"] * 2


def test_what_commits_late_is_not_skipped(conn: Conn, other: Conn, database: str) -> None:
    late = put_alert(other, 1)  # has its id, and its transaction goes on
    early = put_alert(conn, 2)
    conn.commit()
    with connect(database, application_name="tidegate-test") as reader:
        # The early one has the higher number: if it were told now, a reader would skip the late.
        assert told(reader) == []
        start = alert_events.now(reader)
        other.commit()
        assert told(reader, start) == [("alert.created", late, 1), ("alert.created", early, 1)]
        assert told(reader) == [("alert.created", late, 1), ("alert.created", early, 1)]


def test_a_transaction_that_is_rolled_back_is_no_event(conn: Conn, other: Conn) -> None:
    put_alert(other, 1)
    other.rollback()
    alert_id = put_alert(conn, 2)
    conn.commit()
    assert told(conn) == [("alert.created", alert_id, 1)]


def test_events_are_read_on_from_where_a_page_ended(conn: Conn) -> None:
    made = [put_alert(conn, n) for n in range(7)]
    conn.commit()
    position, read = BEGIN, []
    while events := alert_events.after(conn, position, limit=3):
        read += [event.alert.alert_id for event in events if event.alert]
        position = events[-1].position
    assert read == made


def test_an_alert_that_was_deleted_leaves_an_event_without_it(conn: Conn) -> None:
    put_alert(conn, 1)
    conn.execute("DELETE FROM alert")
    conn.commit()
    (event,) = alert_events.after(conn, BEGIN, limit=10)
    assert event.alert is None


def test_listeners_are_woken_once_for_a_transaction(conn: Conn, other: Conn) -> None:
    other.autocommit = True
    other.execute(alert_events.LISTEN)
    for n in range(5):
        put_alert(conn, n)
    conn.commit()
    conn.execute("UPDATE alert SET status = status")
    conn.commit()
    assert [note.channel for note in other.notifies(timeout=0.5)] == [CHANNEL]


def test_who_may_change_alerts_need_not_be_allowed_to_write_events(conn: Conn) -> None:
    put_alert(conn, 1)
    conn.execute("CREATE ROLE analyst_of_events")
    try:
        conn.execute("GRANT SELECT, UPDATE (status) ON alert TO analyst_of_events")
        conn.execute("SET ROLE analyst_of_events")
        # A table of the same name in front of the real one takes none of its events.
        conn.execute("CREATE TEMPORARY TABLE alert_event (kind text, alert_id uuid, version int)")
        conn.execute("UPDATE alert SET status = 'investigating'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
            conn.execute(sql.SQL("SELECT count(*) FROM public.alert_event"))
        conn.execute("RESET ROLE")
        found = conn.execute("SELECT kind FROM public.alert_event ORDER BY id").fetchall()
        assert found == [("alert.created",), ("alert.changed",)]
    finally:
        conn.rollback()


def test_a_position_is_known_until_events_behind_it_are_deleted(conn: Conn) -> None:
    put_alert(conn, 1)
    conn.commit()
    put_alert(conn, 2)
    conn.commit()
    first, second = (event.position for event in alert_events.after(conn, BEGIN, limit=10))
    assert alert_events.known(conn, BEGIN)
    conn.execute("UPDATE alert_event SET at = now() - interval '8 days' WHERE id = %s", (first.id,))
    conn.commit()
    conn.autocommit = True
    removed = retention.enforce(conn, Retention(), datetime.now(UTC))
    assert [(step.table, step.rows) for step in removed] == [("alert_event", 1)]
    assert not alert_events.known(conn, BEGIN)
    assert alert_events.known(conn, first)
    assert alert_events.known(conn, second)


def test_a_position_of_another_life_of_the_database_is_not_known(conn: Conn) -> None:
    ahead = alert_events.now(conn).xid + 1000
    assert not alert_events.known(conn, Position(ahead, 0))
    assert alert_events.known(conn, alert_events.now(conn))


def test_events_and_deliveries_stay_for_ever_where_that_is_asked(conn: Conn) -> None:
    put_alert(conn, 1)
    conn.execute("UPDATE alert_event SET at = now() - interval '800 days'")
    conn.commit()
    conn.autocommit = True
    assert list(retention.enforce(conn, Retention(event_days=0), datetime.now(UTC))) == []
    assert policies.differences(conn, Retention(event_days=0)) == policies.differences(
        conn, Retention()
    )
    soon = datetime.now(UTC) + timedelta(days=1)
    assert [step.rows for step in retention.enforce(conn, Retention(), soon)] == [1]


@pytest.mark.parametrize(
    "text", ["", "1", "1-", "-1", "1-2-3", "x-1", " 1-2", "1-2\n", f"{2**64}-1", f"1-{2**63}"]
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no position"):
        Position.read(text)


def test_a_position_is_read_as_it_was_written() -> None:
    for position in (BEGIN, Position(2**64 - 1, 2**63 - 1), Position(7421, 18)):
        assert Position.read(str(position)) == position

"""Cases are changed as they were seen, and closed together with their alerts."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.rows import put_alert
from tidegate.store import alert_work, alerts, analyst_labels, case_work, cases
from tidegate.store.alert_work import CannotChange, Changed
from tidegate.store.analyst_labels import LabelMessage
from tidegate.store.case_work import CaseChanged, CaseChanges, NoSuchCase
from tidegate.store.cases import Case
from tidegate.store.connection import Conn, connect

change = partial(case_work.change, actor="ann")

FRAUD: CaseChanges = {"status": "closed", "outcome": "fraud"}


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


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[LabelMessage]:
    """The labels that were handed over."""
    labels: list[LabelMessage] = []
    monkeypatch.setattr(analyst_labels, "tell", lambda conn, given: labels.extend(given))
    return labels


def there(conn: Conn, case_id: UUID) -> Case:
    case = cases.get(conn, case_id)
    assert case is not None
    return case


def outcome(conn: Conn, alert_id: UUID) -> tuple[Any, ...]:
    alert = alerts.get(conn, alert_id)
    assert alert is not None
    return alert.status, alert.outcome, alert.version


def audited(conn: Conn) -> list[tuple[Any, ...]]:
    return conn.execute(
        "SELECT actor, action, subject, before, after FROM audit ORDER BY audit_id"
    ).fetchall()


def test_a_case_is_assigned_and_its_alerts_are_not(conn: Conn) -> None:
    alert_id = put_alert(conn, 1)
    case_id = cases.case_id(alert_id)
    case = change(conn, case_id, 1, {"status": "investigating", "assignee": "ann"})
    assert (case.status, case.assignee, case.version) == ("investigating", "ann", 2)
    assert case.changed_at is not None
    assert outcome(conn, alert_id) == ("open", None, 1)
    before = {"status": "open", "assignee": None}
    after = {"status": "investigating", "assignee": "ann"}
    assert audited(conn) == [("ann", "case.change", str(case_id), before, after)]


def test_what_changes_nothing_is_no_new_version(conn: Conn) -> None:
    case_id = cases.case_id(put_alert(conn, 1))
    case = there(conn, case_id)
    assert change(conn, case_id, 1, {"status": "open", "assignee": None}) == case
    assert audited(conn) == []


def test_a_closed_case_closes_its_open_alerts_each_audited_versioned_and_told(
    conn: Conn, told: list[LabelMessage]
) -> None:
    first, second, judged = (put_alert(conn, n) for n in range(3))
    other = put_alert(conn, 0, card_token="card-2")
    alert_work.change(conn, second, 1, {"status": "investigating"}, actor="bob")
    alert_work.change(conn, judged, 1, {"status": "closed", "outcome": "genuine"}, actor="bob")
    assert [label["fraud"] for label in told] == [False]
    told.clear()
    case_id = cases.case_id(first)
    case = change(conn, case_id, there(conn, case_id).version, FRAUD)
    assert (case.status, case.outcome, case.open_count, case.alert_count) == (
        "closed",
        "fraud",
        0,
        3,
    )
    assert outcome(conn, first) == ("closed", "fraud", 2)
    assert outcome(conn, second) == ("closed", "fraud", 3)
    assert outcome(conn, judged) == ("closed", "genuine", 2)
    assert outcome(conn, other) == ("open", None, 1)
    rows = audited(conn)[-3:]
    assert rows[0][:3] == ("ann", "case.change", str(case_id))
    by_subject = {row[2]: row for row in rows[1:]}
    before = {"status": "open", "outcome": None}
    assert by_subject[str(first)] == ("ann", "alert.change", str(first), before, FRAUD)
    assert by_subject[str(second)][3] == {"status": "investigating", "outcome": None}
    changed_at = there(conn, case_id).changed_at
    assert changed_at is not None
    assert sorted(label["transaction_id"] for label in told) == sorted(
        [f"t-{first}", f"t-{second}"]
    )
    (moment,) = {label["labelled_at"] for label in told}
    assert datetime.fromisoformat(moment) >= changed_at
    assert {(label["fraud"], label["source"]) for label in told} == {(True, "analyst")}


def test_an_outcome_that_is_changed_changes_those_that_had_it_and_is_told_again(
    conn: Conn, told: list[LabelMessage]
) -> None:
    first, judged = put_alert(conn, 0), put_alert(conn, 1)
    alert_work.change(conn, judged, 1, {"status": "closed", "outcome": "unclear"}, actor="bob")
    case_id = cases.case_id(first)
    case = change(conn, case_id, there(conn, case_id).version, FRAUD)
    case = change(conn, case_id, case.version, {"outcome": "genuine"})
    assert outcome(conn, first) == ("closed", "genuine", 3)
    assert outcome(conn, judged) == ("closed", "unclear", 2)
    assert [label["fraud"] for label in told] == [True, False]
    assert audited(conn)[-1][3:] == ({"outcome": "fraud"}, {"outcome": "genuine"})
    case = change(conn, case_id, case.version, {"status": "open"})
    assert (case.status, case.outcome) == ("open", None)
    assert outcome(conn, first) == ("closed", "genuine", 3)
    assert len(told) == 2


def test_an_unclear_case_is_no_label(conn: Conn, told: list[LabelMessage]) -> None:
    case_id = cases.case_id(put_alert(conn, 0))
    change(conn, case_id, 1, {"status": "closed", "outcome": "unclear"})
    assert told == []


@pytest.mark.parametrize(
    "changes",
    [{"status": "closed"}, {"outcome": "fraud"}, {"status": "closed", "outcome": None}],
)
def test_a_case_cannot_be_closed_without_an_outcome_or_open_with_one(
    conn: Conn, changes: CaseChanges
) -> None:
    case_id = cases.case_id(put_alert(conn, 0))
    with pytest.raises(CannotChange):
        change(conn, case_id, 1, changes)
    assert there(conn, case_id).version == 1


def test_a_case_of_another_version_or_none_is_not_changed(conn: Conn) -> None:
    first = put_alert(conn, 0)
    case_id = cases.case_id(first)
    put_alert(conn, 1)  # joins
    with pytest.raises(CaseChanged) as raised:
        change(conn, case_id, 1, FRAUD)
    assert raised.value.case == there(conn, case_id)
    alert_work.change(conn, first, 1, {"assignee": "bob"}, actor="bob")
    with pytest.raises(CaseChanged):
        change(conn, case_id, 2, FRAUD)
    assert outcome(conn, first) == ("open", None, 2)
    with pytest.raises(NoSuchCase):
        change(conn, uuid4(), 1, {})


def test_who_closes_a_case_while_one_of_its_alerts_is_changed_is_told(
    two: tuple[Conn, Conn],
) -> None:
    ann, bob = two
    alert_id = put_alert(ann, 0)
    ann.commit()
    alert_work.change(bob, alert_id, 1, {"assignee": "bob"}, actor="bob")
    with ThreadPoolExecutor(1) as other:
        late = other.submit(change, ann, cases.case_id(alert_id), 1, FRAUD)
        with pytest.raises(TimeoutError):
            late.result(0.5)
        bob.commit()
        with pytest.raises(CaseChanged):
            late.result(20)
    ann.rollback()
    assert outcome(ann, alert_id) == ("open", None, 2)


def test_who_changes_an_alert_while_its_case_is_closed_is_told(two: tuple[Conn, Conn]) -> None:
    ann, bob = two
    alert_id = put_alert(ann, 0)
    ann.commit()
    change(ann, cases.case_id(alert_id), 1, FRAUD)
    with ThreadPoolExecutor(1) as other:
        late = other.submit(
            alert_work.change,
            bob,
            alert_id,
            1,
            {"status": "closed", "outcome": "genuine"},
            actor="bob",
        )
        with pytest.raises(TimeoutError):
            late.result(0.5)
        ann.commit()
        with pytest.raises(Changed):
            late.result(20)
    bob.rollback()
    assert outcome(bob, alert_id) == ("closed", "fraud", 2)


def test_analysts_who_close_cases_and_change_their_alerts_at_once_never_deadlock(
    database: str,
) -> None:
    with connect(database, application_name="tidegate-test") as conn:
        ids = [put_alert(conn, n) for n in range(6)]
    case_id = cases.case_id(ids[0])

    def work(n: int) -> int:
        done = 0
        with connect(database, application_name="tidegate-test") as conn:
            for turn in range(15):
                try:
                    if n == 0:
                        case = there(conn, case_id)
                        status = "open" if case.status == "closed" else "closed"
                        given: CaseChanges = {"status": status}
                        if status == "closed":
                            given["outcome"] = ("fraud", "genuine")[turn % 2]
                        change(conn, case_id, case.version, given)
                    else:
                        alert = alerts.get(conn, ids[(n + turn) % 6])
                        assert alert is not None
                        alert_work.change(
                            conn,
                            alert.alert_id,
                            alert.version,
                            {"assignee": f"{n}-{turn}"},
                            actor="ann",
                        )
                    conn.commit()
                    done += 1
                except (Changed, CaseChanged):
                    conn.rollback()
        return done

    with ThreadPoolExecutor(4) as analysts:
        done = list(analysts.map(work, range(4)))
    assert min(done[1:]) > 0
    with connect(database, application_name="tidegate-test") as conn:
        (still_open,) = conn.execute(
            "SELECT count(*) FROM alert WHERE status <> 'closed'"
        ).fetchone() or (None,)
        assert there(conn, case_id).open_count == still_open

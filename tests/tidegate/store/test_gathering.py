"""Alerts of before there were cases get them afterwards, while everybody goes on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

import migrations
from tests.api.rows import put_alert, put_comment
from tidegate.store import alerts, cases, gathering
from tidegate.store.alert_work import change
from tidegate.store.alerts import AlertFilter
from tidegate.store.cases import CaseFilter
from tidegate.store.connection import Conn, connect

HOUR = 3600


@pytest.fixture
def old(empty_database: str) -> str:
    """A database that was filled before: two cards, six hours between two alerts of a card."""
    migrations.upgrade(empty_database, "0009")
    with psycopg.connect(empty_database) as conn:
        for n in range(24):
            closed = {"status": "closed", "outcome": "genuine"} if n >= 20 else {}
            put_alert(conn, n * 3 * HOUR, card_token=f"card-{n % 2}", **closed)
        first = put_alert(conn, 0, card_token="card-9", status="closed", outcome="fraud")
        put_alert(conn, 1, card_token="card-9", status="closed", outcome="unclear")
        put_comment(conn, first, text="a remarkable comment")
    migrations.upgrade(empty_database)
    return empty_database


def gather(url: str, batch: int = 1) -> list[int]:
    with connect(url, application_name="tidegate-test") as conn:
        done = []
        while count := gathering.step(conn, batch=batch):
            conn.commit()
            done.append(count)
        return done


def as_opened(conn: Conn) -> list[tuple[object, ...]]:
    return conn.execute(
        """
        SELECT card_token, opened_at, status, outcome, alert_count, open_count, version
        FROM alert_case ORDER BY card_token, opened_at
        """
    ).fetchall()


@pytest.mark.parametrize("batch", [1, 100])
def test_old_alerts_are_gathered_card_by_card_as_if_they_came_now(old: str, batch: int) -> None:
    done = gather(old, batch)
    assert done == ([12, 12, 2] if batch == 1 else [26])
    with connect(old, application_name="tidegate-test") as conn:
        rows = as_opened(conn)
        counts = [(row[0], *row[2:6]) for row in rows]
        # Alerts at 0, 6, 12, 18 and 24 hours are one case; the last two of a card were closed.
        assert counts == [
            ("card-0", "open", None, 5, 5),
            ("card-0", "open", None, 5, 5),
            ("card-0", "closed", "genuine", 2, 0),
            ("card-1", "open", None, 5, 5),
            ("card-1", "open", None, 5, 5),
            ("card-1", "closed", "genuine", 2, 0),
            ("card-9", "closed", "fraud", 2, 0),
        ]
        for case in cases.page(conn, CaseFilter(), limit=99):
            found = alerts.page(conn, AlertFilter(case_id=case.case_id), limit=99)
            assert len(found) == case.alert_count
            assert {alert.version for alert in found} == {1}
            assert cases.case_id(found[-1].alert_id) == case.case_id
            assert case.opened_at == found[-1].created_at
        assert len(alerts.page(conn, AlertFilter(text="remarkable"), limit=9)) == 1
        assert len(alerts.page(conn, AlertFilter(text="frauds card-1"), limit=99)) == 12
    assert gather(old) == []


def test_before_and_while_they_are_gathered_alerts_are_read_changed_and_raised(old: str) -> None:
    with connect(old, application_name="tidegate-test") as conn:
        (alert,) = alerts.page(conn, AlertFilter(card_token="card-0"), limit=1)
        assert alert.case_id is None
        assert change(conn, alert.alert_id, 1, {"assignee": "ann"}, actor="ann").version == 2
        new = put_alert(conn, 60 * HOUR, card_token="card-0")
        conn.commit()
        gather(old)
        found = alerts.get(conn, new)
        assert found is not None
        assert found.case_id == cases.case_id(new)
        (nobody,) = conn.execute("SELECT count(*) FROM alert WHERE case_id IS NULL").fetchone() or (
            None,
        )
        assert nobody == 0


def test_two_who_gather_at_once_give_each_alert_one_case(old: str) -> None:
    with ThreadPoolExecutor(2) as both:
        done = list(both.map(gather, [old, old]))
    assert sum(map(sum, done)) == 26
    with connect(old, application_name="tidegate-test") as conn:
        assert len(as_opened(conn)) == 7
        (counted,) = conn.execute("SELECT sum(alert_count) FROM alert_case").fetchone() or (None,)
        assert counted == 26

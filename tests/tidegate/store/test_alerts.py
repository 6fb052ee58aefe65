from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from tests.api.rows import REASON, at, put_alert
from tidegate.store import alerts
from tidegate.store.alerts import AlertFilter

ALL = AlertFilter()


@pytest.fixture
def conn(everywhere):
    return everywhere


def walk(conn, which=ALL, limit=7, between=lambda: None):
    """The ids of all pages, in order."""
    seen: list[UUID] = []
    after = None
    while True:
        page = alerts.page(conn, which, limit=limit, after=after)
        if not page:
            return seen
        seen += [alert.alert_id for alert in page]
        after = page[-1].created_at, page[-1].alert_id
        between()


def test_an_alert_is_read_as_it_was_written(conn):
    alert_id = put_alert(conn, 5, merchant_id="m-1", score=0.93, decision="decline")
    alert = alerts.get(conn, alert_id)
    assert alert is not None
    assert (alert.alert_id, alert.merchant_id, alert.score) == (alert_id, "m-1", 0.93)
    assert alert.event_time == at(5)
    assert alert.event_time.utcoffset() == timedelta(0)
    assert alert.reasons == [REASON]
    assert alerts.page(conn, ALL, limit=1) == [alert]


def test_an_unknown_alert_is_none(conn):
    assert alerts.get(conn, uuid4()) is None


def test_alerts_come_newest_first_and_equal_times_by_id(conn):
    ids = [UUID(int=n) for n in range(4)]
    for alert_id, seconds in zip(ids, (1, 2, 2, 3), strict=True):
        put_alert(conn, seconds, alert_id=alert_id)
    assert walk(conn) == [ids[3], ids[1], ids[2], ids[0]]


def test_pages_meet_every_alert_once_though_alerts_are_added_in_between(conn):
    rng = random.Random(7)
    there = [put_alert(conn, rng.randrange(6)) for _ in range(40)]  # many of one moment
    seen = walk(conn, between=lambda: [put_alert(conn, s) for s in (0.5, 3, 9)])
    assert len(seen) == len(set(seen))
    assert set(there) <= set(seen)


@pytest.mark.parametrize(
    ("which", "wanted"),
    [
        (AlertFilter(status="closed"), {1}),
        (AlertFilter(decision="decline"), {2, 4}),
        (AlertFilter(card_token="card-3"), {3}),
        (AlertFilter(terminal_id="terminal-4"), {4}),
        (AlertFilter(min_score=0.9), {2, 4}),
        (AlertFilter(min_score=0.9, card_token="card-2", decision="decline"), {2}),
        (AlertFilter(status="investigating"), set()),
        (AlertFilter(card_token="' OR true --"), set()),
        (AlertFilter(max_score=0.6), {1, 3}),
        (AlertFilter(min_score=0.6, max_score=0.6, merchant_id="m-1"), {1}),
        (AlertFilter(merchant_id="m-4"), {4}),
        (AlertFilter(outcome="unclear"), {1}),
        (AlertFilter(outcome="fraud"), set()),
        (AlertFilter(assignee="ann"), {2, 3}),
        (AlertFilter(unassigned=True), {1, 4}),
        (AlertFilter(unassigned=False), {2, 3}),
        (AlertFilter(unassigned=True, assignee="ann"), set()),
        (AlertFilter(snoozed=True), {4}),
        (AlertFilter(snoozed=False), {1, 2, 3}),
        (AlertFilter(snoozed=False, unassigned=True), {1}),
        (AlertFilter(reason="R3"), {3}),
        (AlertFilter(reason="R"), {1, 2, 3, 4}),
        (AlertFilter(reason="R'"), set()),
        (AlertFilter(min_amount_minor=200), {2, 3, 4}),
        (AlertFilter(max_amount_minor=200), {1, 2}),
        (AlertFilter(min_amount_minor=200, max_amount_minor=2**63 - 1, assignee="ann"), {2, 3}),
    ],
)
def test_filters_leave_what_was_asked(conn, which, wanted):
    ids = {
        put_alert(
            conn,
            n,
            card_token=f"card-{n}",
            terminal_id=f"terminal-{n}",
            status="closed" if n == 1 else "open",
            decision="decline" if n % 2 == 0 else "review",
            score=0.9 if n % 2 == 0 else 0.6,
            reasons=Jsonb([{"code": "R"}, {"code": f"R{n}"}]),
            merchant_id=f"m-{n}",
            outcome="unclear" if n == 1 else None,
            assignee="ann" if n in (2, 3) else None,
            snoozed_until=datetime.now(UTC) + timedelta(hours=1) if n == 4 else None,
            amount_minor=100 * n,
        ): n
        for n in range(1, 5)
    }
    assert {ids[alert_id] for alert_id in walk(conn, which, limit=1)} == wanted

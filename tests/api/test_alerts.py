from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.api.rows import at, put_alert


def test_pages_of_alerts_follow_their_cursors_to_the_end(client, conn):
    ids = [str(put_alert(conn, n % 3)) for n in range(11)]
    conn.commit()
    seen, after = [], None
    while True:
        given = {"limit": 4} | ({"after": after} if after else {})
        page = client.get("/v1/alerts", params=given).json()
        seen += [alert["alert_id"] for alert in page["data"]]
        after = page["next"]
        if after is None:
            break
        put_alert(conn, 9)
        conn.commit()
    assert sorted(seen) == sorted(ids)


def test_a_page_that_ends_with_the_last_alert_has_no_next(client, conn):
    put_alert(conn, 1)
    put_alert(conn, 2)
    conn.commit()
    page = client.get("/v1/alerts", params={"limit": 2}).json()
    assert len(page["data"]) == 2
    assert page["next"] is None


def test_an_alert_tells_its_amount_with_the_decimals_of_its_currency(client, conn):
    for amount, currency in ((43000, "EUR"), (1234, "JPY"), (1234, "KWD"), (5, "EUR")):
        put_alert(conn, 1, amount_minor=amount, currency=currency)
    conn.commit()
    data = client.get("/v1/alerts").json()["data"]
    assert {(a["currency"], a["amount"]) for a in data} == {
        ("EUR", "430.00"),
        ("JPY", "1234"),
        ("KWD", "1.234"),
        ("EUR", "0.05"),
    }


def test_one_alert_is_what_the_list_shows_of_it(client, conn):
    alert_id = put_alert(conn, 1)
    conn.commit()
    (listed,) = client.get("/v1/alerts").json()["data"]
    assert client.get(f"/v1/alerts/{alert_id}").json() == listed
    assert listed["reasons"][0]["text"] == "3 frauds at this terminal in 7 days"
    assert listed["event_time"] == "2026-03-01T12:00:01Z"


def test_an_unknown_alert_is_404(client):
    answer = client.get(f"/v1/alerts/{uuid4()}")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "no such alert"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"status": "closed"}, 1),
        ({"decision": "decline"}, 1),
        ({"card_token": "card-9"}, 1),
        ({"terminal_id": "terminal-1"}, 2),
        ({"min_score": 0.9}, 1),
        ({"min_score": 0.9, "status": "closed"}, 0),
        ({"max_score": 0.9}, 2),
        ({"outcome": "genuine"}, 1),
        ({"outcome": "fraud"}, 0),
        ({"merchant_id": "m-2"}, 1),
        ({"assignee": "ann"}, 1),
        ({"unassigned": True}, 2),
        ({"unassigned": False}, 1),
        ({"assignee": "ann", "unassigned": True}, 0),
        ({"snoozed": True}, 1),
        ({"snoozed": False}, 2),
        ({"reason": "terminal_fraud_7d"}, 3),
        ({"reason": "terminal_fraud"}, 0),
        ({"min_amount_minor": 500}, 2),
        ({"max_amount_minor": 500}, 2),
        ({"min_amount_minor": 500, "max_amount_minor": 500, "unassigned": True}, 1),
    ],
)
def test_alerts_are_filtered(client, conn, asked, found):
    put_alert(conn, 1, status="closed", terminal_id="terminal-9", outcome="genuine")
    put_alert(conn, 2, decision="decline", score=0.99, merchant_id="m-2", amount_minor=500)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    put_alert(
        conn, 3, card_token="card-9", assignee="ann", snoozed_until=tomorrow, amount_minor=499
    )
    conn.commit()
    assert len(client.get("/v1/alerts", params=asked).json()["data"]) == found


def test_alerts_by_score_follow_their_cursors_and_not_those_of_another_order(client, conn):
    scores = (1.0, 0.0, 0.5, 0.5, 0.25)
    ids = {str(put_alert(conn, n, score=score)): score for n, score in enumerate(scores)}
    conn.commit()
    seen, after = [], None
    while True:
        given = {"limit": 2, "sort": "score"} | ({"after": after} if after else {})
        page = client.get("/v1/alerts", params=given).json()
        seen += [alert["alert_id"] for alert in page["data"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert sorted(seen) == sorted(ids)
    assert [ids[alert_id] for alert_id in seen] == sorted(scores, reverse=True)
    for other in ({"after": after}, {"after": after, "sort": "newest"}):
        assert client.get("/v1/alerts", params=other).status_code == 422


def test_alerts_of_a_span_of_time_begin_with_it_and_end_before_its_end(client, conn):
    for seconds in range(5):
        put_alert(conn, seconds)
    conn.commit()
    span = {"since": at(1).isoformat(), "until": at(3).isoformat()}
    found = client.get("/v1/alerts", params=span).json()["data"]
    assert [alert["event_time"][17:19] for alert in found] == ["02", "01"]

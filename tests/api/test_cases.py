"""Cases, dispositions, similar alerts, cards and terminals through the API, on a real database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from tests.api.rows import at, put_alert, put_label, put_score
from tidegate.store import analyst_labels, cases

DAY = 86_400


@pytest.fixture
def told(monkeypatch):
    """The labels that were handed over."""
    labels = []
    monkeypatch.setattr(analyst_labels, "tell", lambda conn, given: labels.extend(given))
    return labels


def assert_problem(answer, status, detail):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.json()["detail"]


def close(client, path, tag, outcome="fraud"):
    body = {"status": "closed", "outcome": outcome}
    return client.patch(path, json=body, headers={"If-Match": tag})


def test_a_case_is_listed_and_read_with_its_alerts_and_etag(client, conn):
    first, second = put_alert(conn, 0, amount_minor=100), put_alert(conn, 5, amount_minor=23)
    put_alert(conn, 0, card_token="card-2", currency="JPY", score=0.9)
    put_alert(conn, 1, card_token="card-2", currency="EUR")
    conn.commit()
    listed = client.get("/v1/cases", params={"card_token": "card-1"}).json()
    (case,) = listed["data"]
    assert listed["next"] is None
    assert case["case_id"] == str(cases.case_id(first))
    assert (case["amount_minor"], case["amount"], case["currency"]) == (123, "1.23", "EUR")
    assert (case["alert_count"], case["open_count"], case["version"]) == (2, 2, 2)
    answer = client.get(f"/v1/cases/{case['case_id']}")
    assert answer.headers["etag"] == '"2"'
    body = answer.json()
    assert [alert["alert_id"] for alert in body.pop("alerts")] == [str(second), str(first)]
    assert body == case
    same = client.get(f"/v1/cases/{case['case_id']}", headers={"If-None-Match": '"2"'})
    assert (same.status_code, same.content) == (304, b"")
    (mixed,) = client.get("/v1/cases", params={"min_score": 0.88}).json()["data"]
    assert (mixed["amount_minor"], mixed["amount"], mixed["currency"]) == (None, None, None)
    listed = client.get("/v1/alerts", params={"case_id": case["case_id"]}).json()["data"]
    assert {alert["case_id"] for alert in listed} == {case["case_id"]}
    assert len(listed) == 2


@pytest.mark.parametrize("sort", ["newest", "score"])
def test_pages_of_cases_follow_their_cursors_to_the_end(client, conn, sort):
    for n in range(7):
        put_alert(conn, n % 3, card_token=f"card-{n}", score=n % 2 / 2)
    conn.commit()
    seen, after = [], None
    while True:
        given = {"limit": 2, "sort": sort} | ({"after": after} if after else {})
        page = client.get("/v1/cases", params=given).json()
        seen += [case["card_token"] for case in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert sorted(seen) == [f"card-{n}" for n in range(7)]
    wrong = client.get("/v1/cases", params={"after": "WyJhbGVydCJd"})
    assert_problem(wrong, 422, "after")


def test_a_case_that_is_closed_closes_its_alerts_as_fraud(client, conn, told):
    ids = [put_alert(conn, n) for n in range(3)]
    conn.commit()
    path = f"/v1/cases/{cases.case_id(ids[0])}"
    answer = close(client, path, '"3"')
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["status"], body["outcome"], body["open_count"]) == ("closed", "fraud", 0)
    assert answer.headers["etag"] == f'"{body["version"]}"' == client.get(path).headers["etag"]
    for alert_id in ids:
        alert = client.get(f"/v1/alerts/{alert_id}").json()
        assert (alert["status"], alert["outcome"], alert["version"]) == ("closed", "fraud", 2)
    assert sorted(label["transaction_id"] for label in told) == sorted(f"t-{id}" for id in ids)


def test_what_was_not_seen_of_a_case_is_not_closed(client, conn, told):
    first = put_alert(conn, 0)
    conn.commit()
    path = f"/v1/cases/{cases.case_id(first)}"
    seen = client.get(path).headers["etag"]
    put_alert(conn, 1)
    conn.commit()
    answer = close(client, path, seen)
    assert_problem(answer, 412, "changed meanwhile")
    assert answer.headers["etag"] == '"2"'
    client.patch(f"/v1/alerts/{first}", json={"assignee": "bob"}, headers={"If-Match": '"1"'})
    assert_problem(close(client, path, '"2"'), 412, "changed meanwhile")
    assert client.get(path).json()["open_count"] == 2
    assert told == []


def test_wrong_changes_of_cases_are_refused(client, conn):
    path = f"/v1/cases/{cases.case_id(put_alert(conn, 0))}"
    conn.commit()
    assert_problem(client.patch(path, json={}), 428, "If-Match")
    assert_problem(client.patch(path, json={}, headers={"If-Match": "*"}), 428, "If-Match")
    assert_problem(close(client, path, '"1"', outcome=None), 422, "outcome")
    assert_problem(close(client, path, '"1"', outcome="maybe"), 422, "outcome")
    wrong = client.patch(path, content=b"{}", headers={"If-Match": '"1"'})
    assert_problem(wrong, 415, "application/json")
    assert_problem(close(client, f"/v1/cases/{uuid4()}", '"1"'), 404, "no such case")
    assert_problem(client.get(f"/v1/cases/{uuid4()}"), 404, "no such case")
    assert client.get(path).headers["etag"] == '"1"'


def test_a_disposition_closes_an_alert_comments_on_it_and_is_told_once(client, conn, told):
    alert_id = put_alert(conn, 0)
    conn.commit()
    path = f"/v1/alerts/{alert_id}"
    body = {"outcome": "fraud", "comment": "not hers"}
    answer = None
    for tag in ('"1"', '"1"', None):  # repeated as it was, and without
        headers = {} if tag is None else {"If-Match": tag}
        answer = client.post(f"{path}/disposition", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["etag"] == '"2"'
        assert answer.json() == client.get(path).json()
    assert answer is not None
    assert (answer.json()["status"], answer.json()["outcome"]) == ("closed", "fraud")
    comments = client.get(f"{path}/comments").json()["data"]
    assert [comment["text"] for comment in comments] == ["not hers"]
    assert len(told) == 1
    client.post(f"{path}/disposition", json={"outcome": "fraud", "comment": "she said"})
    assert len(client.get(f"{path}/comments").json()["data"]) == 2
    answer = client.post(f"{path}/disposition", json={"outcome": "genuine"})
    assert (answer.json()["outcome"], answer.json()["version"]) == ("genuine", 3)
    assert [label["fraud"] for label in told] == [True, False]
    assert told[0]["labelled_at"] < told[1]["labelled_at"]
    rows = conn.execute("SELECT action FROM audit ORDER BY audit_id").fetchall()
    assert [action for (action,) in rows] == [
        *("alert.change", "alert.comment", "alert.comment", "alert.change")
    ]


def test_a_disposition_of_what_was_changed_meanwhile_is_412_and_writes_nothing(client, conn):
    alert_id = put_alert(conn, 0)
    conn.commit()
    path = f"/v1/alerts/{alert_id}"
    client.patch(path, json={"assignee": "bob"}, headers={"If-Match": '"1"'})
    body = {"outcome": "fraud", "comment": "x"}
    answer = client.post(f"{path}/disposition", json=body, headers={"If-Match": '"1"'})
    assert_problem(answer, 412, "at version 2")
    assert answer.headers["etag"] == '"2"'
    assert client.get(path).json()["status"] == "open"
    assert client.get(f"{path}/comments").json()["data"] == []
    for wrong in ({}, {"outcome": None}, {"outcome": "fraud", "comment": ""}, {"outcome": "no"}):
        assert client.post(f"{path}/disposition", json=wrong).status_code == 422
    missing = client.post(f"/v1/alerts/{uuid4()}/disposition", json={"outcome": "fraud"})
    assert_problem(missing, 404, "no such alert")


def test_two_dispositions_at_once_both_count_one_after_the_other(client, conn, told):
    path = f"/v1/alerts/{put_alert(conn, 0)}"
    conn.commit()

    def dispose(n):
        outcome = ("fraud", "genuine")[n % 2]
        return client.post(f"{path}/disposition", json={"outcome": outcome}).status_code

    with ThreadPoolExecutor(4) as analysts:
        assert set(analysts.map(dispose, range(12))) == {200}
    alert = client.get(path).json()
    assert alert["version"] == len(told) + 1
    newest = max(told, key=lambda label: label["labelled_at"])
    assert newest["fraud"] == (alert["outcome"] == "fraud")


def test_similar_alerts_say_why_and_the_most_alike_come_first(client, conn):
    this = put_alert(conn, 0, reasons=Jsonb([{"code": "A", "weight": 1.0, "text": "a"}]))
    plain = {"reasons": Jsonb([{"code": "B", "weight": 1.0, "text": "b"}])}
    both = put_alert(conn, 60, **plain)
    card = put_alert(conn, -DAY, terminal_id="other", **plain)
    near = put_alert(conn, 10, card_token="other", **plain)
    far = put_alert(conn, 2 * DAY, card_token="other", **plain)
    reason = put_alert(
        conn,
        1,
        card_token="x",
        terminal_id="y",
        reasons=Jsonb([{"code": "A", "weight": 1.0, "text": "a"}]),
    )
    put_alert(conn, 1, card_token="x", terminal_id="y", **plain)
    put_alert(conn, 8 * DAY, **plain)
    conn.commit()
    data = client.get(f"/v1/alerts/{this}/similar").json()["data"]
    assert [(one["alert"]["alert_id"], one["why"]) for one in data] == [
        (str(both), ["card", "terminal"]),
        (str(card), ["card"]),
        (str(near), ["terminal"]),
        (str(far), ["terminal"]),
        (str(reason), ["reason"]),
    ]
    data = client.get(f"/v1/alerts/{this}/similar", params={"limit": 1}).json()["data"]
    assert len(data) == 1
    assert_problem(client.get(f"/v1/alerts/{uuid4()}/similar"), 404, "no such alert")


def test_a_card_tells_its_last_days_up_to_the_newest_payment(client, conn):
    card = "card/7"
    for n, (days, decision) in enumerate(
        [(40, "review"), (20, "decline"), (5, "approve"), (0.5, "approve"), (0, "review")]
    ):
        put_score(
            conn,
            f"t{n}",
            -days * DAY,
            card_token=card,
            decision=decision,
            terminal_id=f"terminal-{n % 2}",
            amount_minor=100 + n,
            currency="JPY" if n == 2 else "EUR",
        )
    put_score(conn, "other", 0)
    put_label(conn, "t1", 0, fraud=False)
    put_label(conn, "t1", 1, fraud=True)
    put_label(conn, "t2", 0, fraud=False)
    put_label(conn, "t0", 0, fraud=True)  # 40 days ago
    put_alert(conn, 0, card_token=card)
    put_alert(conn, 1, card_token=card, status="closed")
    conn.commit()
    body = client.get(f"/v1/cards/{card}").json()
    spans = {name: span["decisions"] for name, span in body["spans"].items()}
    assert spans == {
        "24h": {"approve": 1, "review": 1, "decline": 0},
        "7d": {"approve": 2, "review": 1, "decline": 0},
        "30d": {"approve": 2, "review": 1, "decline": 1},
    }
    assert body["spans"]["7d"]["amount_minor"] == {"EUR": 207, "JPY": 102}
    assert body["spans"]["7d"]["amount"] == {"EUR": "2.07", "JPY": "102"}
    assert body["known"] == {"payments": 4, "frauds": 1, "genuine": 1}
    assert [(t["terminal_id"], t["decisions"]) for t in body["terminals"]] == [
        ("terminal-0", 2),
        ("terminal-1", 2),
    ]
    assert (body["alerts"], body["open_alerts"], body["complete"]) == (2, 1, True)
    assert body["first_seen"] == (at(0) - timedelta(days=40)).isoformat().replace("+00:00", "Z")
    assert body["last_seen"] == at(0).isoformat().replace("+00:00", "Z")
    assert_problem(client.get("/v1/cards/nobody"), 404, "no such card")


def test_a_card_with_more_payments_than_are_read_says_so(client, conn):
    for n in range(1_002):
        put_score(conn, f"t{n}", -n, card_token="busy")
    conn.commit()
    body = client.get("/v1/cards/busy").json()
    assert (body["complete"], body["known"]["payments"]) == (False, 1_000)


def test_a_terminal_tells_its_hours_and_what_is_known(client, conn):
    for n, hours in enumerate([0, 0, 2, 30, 24 * 29, 24 * 31]):
        decision = "decline" if n == 1 else "approve"
        put_score(conn, f"t{n}", -hours * 3600, terminal_id="t/1", decision=decision)
    put_label(conn, "t1", 0, fraud=True)
    put_alert(conn, 0, terminal_id="t/1")
    conn.commit()
    body = client.get("/v1/terminals/t/1").json()
    (series,) = body["series"]
    assert series["decisions"] == [1, 1, 1, 2]
    assert series["not_approved"] == [0, 0, 0, 1]
    assert series["buckets"][-1] == "2026-03-01T12:00:00Z"
    spans = {name: span["decisions"] for name, span in body["spans"].items()}
    assert spans["24h"] == {"all": 3, "not_approved": 1}
    assert spans["7d"] == {"all": 4, "not_approved": 1}
    assert spans["30d"] == {"all": 5, "not_approved": 1}
    assert body["known"] == {"payments": 5, "frauds": 1, "genuine": 0}
    assert (body["alerts"], body["open_alerts"]) == (1, 1)
    put_alert(conn, 0, terminal_id="alerted only")
    conn.commit()
    assert client.get("/v1/terminals/alerted only").json()["first_seen"] is None
    assert_problem(client.get("/v1/terminals/none"), 404, "no such terminal")


def test_amounts_are_sorted_within_a_currency_alone(client, conn):
    ids = [
        str(put_alert(conn, n, amount_minor=amount, currency=currency))
        for n, (amount, currency) in enumerate([(5, "EUR"), (50, "EUR"), (7, "JPY"), (50, "EUR")])
    ]
    conn.commit()
    assert_problem(client.get("/v1/alerts", params={"sort": "amount"}), 422, "currency")
    seen, after = [], None
    while True:
        given = {"sort": "amount", "currency": "EUR", "limit": 1}
        page = client.get("/v1/alerts", params=given | ({"after": after} if after else {})).json()
        seen += [alert["alert_id"] for alert in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [*sorted([ids[1], ids[3]]), ids[0]]


def test_alerts_are_found_by_words_and_an_empty_search_is_422(client, conn):
    alert_id = str(put_alert(conn, 0))
    put_alert(conn, 1, card_token="other", reasons=Jsonb([]))
    conn.commit()
    data = client.get("/v1/alerts", params={"text": "FRAUDS card-1"}).json()["data"]
    assert [alert["alert_id"] for alert in data] == [alert_id]
    for text in ("", "  ", "x" * 201, "\x00"):
        assert client.get("/v1/alerts", params={"text": text}).status_code == 422


def test_a_role_that_may_change_alerts_needs_one_more_grant_for_cases(
    serve, database, conn, reader
):
    alert_id = put_alert(conn, 0)
    role = sql.Identifier(reader)
    columns = "status, outcome, assignee, snoozed_until, version, changed_at"
    conn.execute(sql.SQL(f"GRANT UPDATE ({columns}) ON alert TO {{}}").format(role))
    conn.execute(sql.SQL("GRANT INSERT ON alert_comment, audit TO {}").format(role))
    conn.commit()
    api = serve(make_conninfo(database, options=f"-c role={reader}"))
    body = {"outcome": "unclear", "comment": "x"}
    assert api.post(f"/v1/alerts/{alert_id}/disposition", json=body).status_code == 200
    path = f"/v1/cases/{cases.case_id(alert_id)}"
    tag = api.get(path).headers["etag"]
    assert_problem(close(api, path, tag), 403, "may only read")
    columns = "status, outcome, assignee, version, changed_at"
    conn.execute(sql.SQL(f"GRANT UPDATE ({columns}) ON alert_case TO {{}}").format(role))
    conn.commit()
    assert close(api, path, tag).status_code == 200

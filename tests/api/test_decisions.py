from __future__ import annotations

from urllib.parse import quote

import pytest
from psycopg.types.json import Jsonb

from tests.api.rows import at, put_label, put_score


def test_pages_of_decisions_follow_their_cursors_to_the_end(client, conn):
    ids = [f"t-{n}é" for n in range(11)]
    for n, transaction_id in enumerate(ids):
        put_score(conn, transaction_id, n % 3)
    conn.commit()
    seen, after = [], None
    while True:
        given = {"limit": 4} | ({"after": after} if after else {})
        page = client.get("/v1/decisions", params=given).json()
        seen += [row["transaction_id"] for row in page["data"]]
        after = page["next"]
        if after is None:
            break
        put_score(conn, f"later-{len(seen)}", 9)
        conn.commit()
    assert sorted(seen) == sorted(ids)


def test_a_decision_tells_its_inputs_by_name_and_its_labels(client, conn):
    put_score(conn, "t-1", 1, details=Jsonb({"mcc": "5411"}), channel="pos")
    put_label(conn, "t-1", 50, reason="stolen")
    conn.commit()
    record = client.get("/v1/decisions/t-1").json()
    assert record["features"] == [
        {"name": "amount", "value": 0.1},
        {"name": "card_count_1d", "value": 2.5},
        {"name": "terminal_risk", "value": None},
    ]
    assert record["details"] == {"mcc": "5411"}
    assert record["amount"] == "12.34"
    assert [label["reason"] for label in record["labels"]] == ["stolen"]


def test_features_that_came_with_a_later_release_have_no_names(serve, database, conn):
    put_score(conn, "t-1", 1)
    conn.commit()
    for known, told in ((("a",), ["a", None, None]), (("a", "b", "c", "d"), ["a", "b", "c"])):
        client = serve(database, feature_names=known)
        features = client.get("/v1/decisions/t-1").json()["features"]
        assert [feature["name"] for feature in features] == told


@pytest.mark.parametrize("transaction_id", ["a/b", "/a/", "50% of it?", "é 日", "a" * 64])
def test_any_transaction_id_can_be_asked_for(client, conn, transaction_id):
    put_score(conn, transaction_id, 1)
    conn.commit()
    answer = client.get(f"/v1/decisions/{quote(transaction_id, safe='')}")
    assert answer.json()["transaction_id"] == transaction_id


def test_a_decision_is_made_again_and_compared(client, conn, remade):
    log_odds, decision = remade("t/1", seconds=1)
    other = remade("t-2", seconds=2, log_odds=7)
    conn.commit()
    again = {"log_odds": log_odds, "decision": decision}
    one = client.get("/v1/decisions/t%2F1/replay").json()
    assert (one["same"], one["stored"], one["again"]) == (True, again, again)
    assert one["transaction_id"] == "t/1"
    two = client.get("/v1/decisions/t-2/replay").json()
    assert two["same"] is False
    assert two["stored"]["log_odds"] == 7
    assert (two["again"]["log_odds"], two["again"]["decision"]) == other
    assert client.get("/v1/decisions/nobody/replay").status_code == 404


def test_a_decision_whose_version_is_gone_cannot_be_made_again_and_says_so(client, conn, remade):
    remade("t-1", seconds=1)
    conn.execute("DELETE FROM policy_version")
    conn.commit()
    answer = client.get("/v1/decisions/t-1/replay")
    assert answer.status_code == 409
    assert "policy version" in answer.json()["detail"]


def test_an_unknown_decision_is_404(client):
    assert client.get("/v1/decisions/t-1").status_code == 404


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"card_token": "card-9"}, ["t-2"]),
        ({"terminal_id": "terminal-9"}, ["t-1"]),
        ({"decision": "decline"}, ["t-3"]),
        ({"since": at(1).isoformat(), "until": at(3).isoformat()}, ["t-2", "t-1"]),
        ({"since": "2026-03-01T13:00:03+01:00"}, ["t-3"]),
    ],
)
def test_decisions_are_filtered(client, conn, asked, found):
    put_score(conn, "t-1", 1, terminal_id="terminal-9")
    put_score(conn, "t-2", 2, card_token="card-9")
    put_score(conn, "t-3", 3, decision="decline")
    conn.commit()
    data = client.get("/v1/decisions", params=asked).json()["data"]
    assert [row["transaction_id"] for row in data] == found

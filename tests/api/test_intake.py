"""Payments and labels over HTTP: taken once, told of at once, refused with a reason."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from api.intake import doors
from tests.api.conftest import Serve
from tests.api.keys import OPEN
from tests.dataflows.streams import query
from tests.faults.cluster import Cluster
from tests.kafka.broker import Broker
from tests.kafka.fixtures import kafka_settings
from tidegate.settings import Topics

CARD_NUMBER = "4111111111111111"


def payment(id: str, **changes: Any) -> dict[str, Any]:
    at = datetime.now(UTC).replace(microsecond=0)
    return {
        "transaction_id": id,
        "event_time": at.isoformat(),
        "amount_minor": 1_000,
        "currency": "EUR",
        "card_token": "card-1",
        "terminal_id": "terminal-1",
        **changes,
    }


def label(id: str, **changes: Any) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    return {"transaction_id": id, "fraud": True, "source": "issuer", "labelled_at": at, **changes}


def inbox(database: str) -> list[str]:
    """The ids in the inbox, in their order."""
    return [id for (id,) in query(database, "SELECT transaction_id FROM inbox ORDER BY number")]


@pytest.fixture
def flow(database: str, tmp_path: Path) -> Iterator[Cluster]:
    """A scoring flow that reads the inbox of the test's database."""
    cluster = Cluster(database, None, Topics(), tmp_path)
    cluster.start(1)
    try:
        cluster.wait_ready()
        yield cluster
    finally:
        cluster.kill_everything()


def test_who_waits_gets_the_decision_and_a_repeat_gets_the_same(
    client: httpx.Client, database: str, flow: Cluster
) -> None:
    body = payment("a/1 ü")
    first = client.post("/v1/transactions", json=body, headers={"Prefer": "wait=10"})
    assert first.status_code == 200
    assert first.headers["Preference-Applied"] == "wait=10"
    decided = first.json()
    assert decided["status"] == "decided"
    assert decided["repeat"] is False
    assert decided["decision"] in ("approve", "review", "decline")
    assert 0 <= decided["score"] <= 1
    # Nobody waits now, and a repeat is answered at once all the same.
    again = client.post("/v1/transactions", json=body)
    assert (again.status_code, again.json()) == (200, decided | {"repeat": True})
    assert client.get(decided["href"]).json()["score"] == decided["score"]
    # Also when the message is long gone from the inbox.
    with psycopg.connect(database) as conn:
        conn.execute("DELETE FROM inbox")
    assert client.post("/v1/transactions", json=body).json() == decided | {"repeat": True}
    assert query(database, "SELECT count(*) FROM score") == [(1,)]


def test_an_array_is_answered_in_its_order(client: httpx.Client, flow: Cluster) -> None:
    ids = [f"many-{number}" for number in range(300)]
    reply = client.post(
        "/v1/transactions",
        json=[payment(id) for id in ids],
        headers={"Prefer": "respond-async, wait=10"},
    )
    assert reply.status_code == 200
    assert [row["transaction_id"] for row in reply.json()["data"]] == ids
    assert {row["status"] for row in reply.json()["data"]} == {"decided"}


def test_a_label_reaches_the_flow(client: httpx.Client, database: str, flow: Cluster) -> None:
    wait = {"Prefer": "wait=10"}
    assert client.post("/v1/transactions", json=payment("b"), headers=wait).status_code == 200
    taken = client.post("/v1/labels", json=label("b"))
    assert (taken.status_code, taken.json()) == (202, {"accepted": 1})
    deadline = time.monotonic() + 60  # ten seconds without a payment, and a label waits for none
    while not (found := client.get("/v1/decisions/b").json()["labels"]):
        assert time.monotonic() < deadline, flow.said()
        time.sleep(0.1)
    assert [(row["fraud"], row["source"]) for row in found] == [(True, "issuer")]


def test_where_no_flow_runs_a_payment_is_kept_and_its_address_told(
    client: httpx.Client, database: str
) -> None:
    body = payment("c 1")
    reply = client.post("/v1/transactions", json=body, headers={"Prefer": "wait=0.05"})
    assert reply.status_code == 202
    assert reply.headers["Location"] == "/v1/decisions/c%201"
    assert reply.json()["status"] == "accepted"
    assert reply.json()["decision"] is None
    again = client.post("/v1/transactions", json=body)
    assert (again.status_code, again.json()["repeat"]) == (202, True)
    assert inbox(database) == ["c 1"]


def test_an_id_that_stands_for_another_payment_is_told(client: httpx.Client, database: str) -> None:
    assert client.post("/v1/transactions", json=payment("d")).status_code == 202
    reply = client.post("/v1/transactions", json=payment("d", amount_minor=2_000))
    assert reply.status_code == 409
    assert reply.json()["errors"][0]["field"] == "transaction_id"
    # Of a request all or nothing is taken, and what is in it twice counts too.
    twice = [payment("e"), payment("f"), payment("e", amount_minor=5)]
    reply = client.post("/v1/transactions", json=twice)
    assert reply.status_code == 409
    assert [fault["field"] for fault in reply.json()["errors"]] == ["2.transaction_id"]
    assert inbox(database) == ["d"]
    same = payment("g")
    reply = client.post("/v1/transactions", json=[same, same])
    assert [row["repeat"] for row in reply.json()["data"]] == [False, True]
    assert inbox(database) == ["d", "g"]


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"amount_minor": -1}, "amount_minor", "negative_amount"),
        ({"amount_minor": "12"}, "amount_minor", "wrong_type"),
        ({"currency": "XXQ"}, "currency", "unknown_currency"),
        ({"event_time": "2026-01-01T00:00:00"}, "event_time", "time_without_offset"),
        ({"card_token": CARD_NUMBER}, "card_token", "card_number"),
        ({"terminal_id": None}, "terminal_id", "missing_field"),
        (
            {"event_time": (datetime.now(UTC) + timedelta(days=2)).isoformat()},
            "event_time",
            "bad_time",
        ),
    ],
)
def test_a_bad_payment_is_refused_with_its_field_and_reason(
    client: httpx.Client, database: str, changes: dict[str, Any], field: str, reason: str
) -> None:
    reply = client.post("/v1/transactions", json=payment("h", **changes))
    assert reply.status_code == 422
    (fault,) = reply.json()["errors"]
    assert (fault["in"], fault["field"]) == ("body", field)
    assert fault["detail"].startswith(reason)
    assert CARD_NUMBER not in reply.text
    many = client.post("/v1/transactions", json=[payment("i"), payment("h", **changes)])
    assert [fault["field"] for fault in many.json()["errors"]] == [f"1.{field}"]
    assert inbox(database) == []


def test_nothing_is_kept_of_fields_that_the_contract_does_not_know(
    client: httpx.Client, database: str
) -> None:
    body = payment("j", pan=CARD_NUMBER, merchant_id="m")
    assert client.post("/v1/transactions", json=body).status_code == 202
    said = label("j", pan=CARD_NUMBER, reason=f"called from {CARD_NUMBER}")
    assert client.post("/v1/labels", json=said).status_code == 202
    kept = [message for (message,) in query(database, "SELECT message FROM inbox")]
    assert len(kept) == 2
    assert CARD_NUMBER not in str(kept)
    assert json.loads(kept[0])["merchant_id"] == "m"


@pytest.mark.parametrize("body", [b"", b"{", b"[", b"[]", b"[1,]", b"\xff", b"[" * 2_000, b"null"])
@pytest.mark.parametrize("route", ["/v1/transactions", "/v1/labels"])
def test_what_is_no_message_is_refused(client: httpx.Client, route: str, body: bytes) -> None:
    reply = client.post(route, content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 422
    assert reply.headers["Content-Type"] == "application/problem+json"


def test_more_than_a_thousand_at_once_and_bodies_beyond_four_megabytes_are_refused(
    client: httpx.Client, database: str
) -> None:
    thousand = [payment(f"k-{number}") for number in range(1_000)]
    assert client.post("/v1/transactions", json=thousand).status_code == 202
    assert client.post("/v1/transactions", json=[*thousand, payment("k")]).status_code == 422
    large = payment("l", attributes={"a": "x" * 4_200_000})
    assert client.post("/v1/transactions", json=large).status_code == 413
    assert len(inbox(database)) == 1_000


def test_an_idempotency_key_stands_for_one_request(client: httpx.Client, database: str) -> None:
    key = {"Idempotency-Key": "once"}
    body = payment("m")
    assert client.post("/v1/transactions", json=body, headers=key).status_code == 202
    assert client.post("/v1/transactions", json=body, headers=key).json()["repeat"] is True
    other = client.post("/v1/transactions", json=payment("n"), headers=key)
    assert other.status_code == 422
    assert other.json()["errors"][0]["field"] == "Idempotency-Key"
    assert inbox(database) == ["m"]


def test_labels_are_refused_whole_with_their_fields(client: httpx.Client, database: str) -> None:
    reply = client.post("/v1/labels", json=[label("o"), label("p", source="rumour")])
    assert reply.status_code == 422
    assert [fault["field"] for fault in reply.json()["errors"]] == ["1.source"]
    assert inbox(database) == []
    assert client.post("/v1/labels", json=[label("o"), label("o")]).json() == {"accepted": 2}
    assert inbox(database) == ["o", "o"]


def test_of_many_at_once_each_is_taken_once_and_told_its_own(
    client: httpx.Client, database: str
) -> None:
    def post(number: int) -> tuple[int, str, bool]:
        body = payment(f"q-{number // 2}", event_time="2026-11-26T10:00:00Z")
        reply = client.post("/v1/transactions", json=body)
        return reply.status_code, reply.json()["transaction_id"], reply.json()["repeat"]

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(post, range(200)))
    assert {status for status, _, _ in found} == {202}
    assert [id for _, id, _ in found] == [f"q-{number // 2}" for number in range(200)]
    assert sum(repeat for _, _, repeat in found) == 100
    assert sorted(inbox(database)) == sorted({id for _, id, _ in found})


def test_a_backlog_that_no_flow_works_off_is_told_before_it_grows(
    client: httpx.Client, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "MOST_BEHIND", 3)
    monkeypatch.setattr(doors, "_LOOK_EVERY", 0.0)
    for number in range(3):
        assert client.post("/v1/transactions", json=payment(f"r-{number}")).status_code == 202
    reply = client.post("/v1/transactions", json=payment("r-3"))
    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) > 0
    assert len(inbox(database)) == 3


def test_a_database_that_may_only_be_read_takes_nothing(
    serve: Serve, database: str, reader: str
) -> None:
    limited = psycopg.conninfo.make_conninfo(database, options=f"-c role={reader}")
    client = serve(limited, access=OPEN)
    assert client.post("/v1/transactions", json=payment("s")).status_code == 403


def test_where_nothing_would_read_them_no_payments_are_taken(serve: Serve, database: str) -> None:
    client = serve(database, takes=False)
    assert client.post("/v1/transactions", json=payment("v")).status_code == 503
    assert client.post("/v1/labels", json=label("v")).status_code == 503
    assert inbox(database) == []


def test_a_database_that_is_away_is_told(serve: Serve) -> None:
    client = serve("postgresql://127.0.0.1:1/none", pool_timeout=0.3, access=OPEN)
    reply = client.post("/v1/transactions", json=payment("t"))
    assert reply.status_code == 503
    assert "Retry-After" in reply.headers


def test_with_kafka_they_go_to_its_topics_and_their_decisions_come_back(
    broker: Broker,
    topics: Topics,
    serve: Serve,
    database: str,
    tmp_path: Path,
) -> None:
    client = serve(database, kafka=kafka_settings(broker, topics))
    cluster = Cluster(database, broker.address, topics, tmp_path)
    cluster.start(1)
    try:
        cluster.wait_ready()
        body = payment("u")
        reply = client.post("/v1/transactions", json=body, headers={"Prefer": "wait=10"})
        assert reply.status_code == 200
        again = client.post("/v1/transactions", json=body)
        assert (again.status_code, again.json()) == (200, reply.json() | {"repeat": True})
        assert client.post("/v1/labels", json=label("u")).status_code == 202
        cluster.stop()
    finally:
        cluster.kill_everything()
    assert inbox(database) == []
    assert query(database, "SELECT count(*) FROM score") == [(1,)]


def test_the_description_names_every_field_of_the_contract(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    body = paths["/v1/transactions"]["post"]["requestBody"]["content"]["application/json"]
    one, many = body["schema"]["anyOf"]
    assert set(one["required"]) == {
        "transaction_id", "event_time", "amount_minor", "currency", "card_token", "terminal_id",
    }  # fmt: skip
    assert many["items"] == one
    assert json.dumps(body["example"])

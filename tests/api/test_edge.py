from __future__ import annotations

import socket
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api import edge
from tests.api.rows import put_alert, put_score


@pytest.mark.parametrize(
    "path",
    ["/", "/static/page.js", "/v1/alerts", "/v1/nothing", "/v1/alerts?limit=0", "/healthz"],
)
def test_every_answer_has_the_security_headers(client, path):
    headers = client.get(path).headers
    policy = {part.strip() for part in headers["content-security-policy"].split(";")}
    assert {"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= policy
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in headers


def test_a_request_has_an_id_its_client_s_if_it_is_one(client):
    own = client.get("/healthz").headers["x-request-id"]
    assert own != client.get("/v1/nothing").headers["x-request-id"]
    given = {"X-Request-ID": "shop-2026:4711"}
    assert client.get("/healthz", headers=given).headers["x-request-id"] == "shop-2026:4711"
    for bad in ("short", "x" * 65, "a b c d e f"):
        given = {"X-Request-ID": bad}
        assert client.get("/healthz", headers=given).headers["x-request-id"] != bad


def test_what_names_cards_is_not_cached_and_files_are_asked_for_again(client):
    assert client.get("/v1/alerts").headers["cache-control"] == "no-store"
    page = client.get("/static/page.css")
    assert page.headers["cache-control"] == "no-cache"
    again = client.get("/static/page.css", headers={"If-None-Match": page.headers["etag"]})
    assert again.status_code == 304


def test_metrics_count_requests_by_route_and_never_name_an_id(client, conn):
    alert_id = put_alert(conn, 1)
    transaction_id = f"t/{uuid4()}"
    put_score(conn, transaction_id, 1)
    conn.commit()
    card = f"card-{uuid4()}"
    client.get(f"/v1/alerts/{alert_id}")
    client.get(f"/v1/decisions/{transaction_id}")
    client.get(f"/v1/alerts?card_token={card}")
    client.get(f"/v1/nothing/{card}")
    client.get(f"/static/{card}")
    client.get(f"/v1/models/{card}")
    client.request("BREW", f"/v1/alerts/{alert_id}")
    text = client.get("/metrics").text
    for secret in (str(alert_id), transaction_id, card, "BREW"):
        assert secret not in text
    found = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "tidegate_api_requests_total"
    }
    assert found["/v1/alerts/{alert_id}", "200"] >= 1
    assert found["/v1/alerts/{alert_id}", "405"] >= 1
    assert found["/v1/decisions/{transaction_id:path}", "200"] >= 1
    assert found["/v1/alerts", "200"] >= 1
    assert found["/v1/models/{name}", "404"] >= 1
    assert found["unmatched", "404"] >= 1
    assert found["/static", "404"] >= 1
    assert "tidegate_api_request_seconds_bucket" in text


def test_a_body_that_does_not_come_in_time_is_no_longer_waited_for(client, monkeypatch):
    monkeypatch.setattr(edge, "BODY_SECONDS", 0.3)
    host, port = client.base_url.host, client.base_url.port
    with socket.create_connection((host, port), timeout=10) as line:
        line.sendall(
            b"POST /v1/labels HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Authorization: " + client.headers["authorization"].encode() + b"\r\n"
            b'Content-Length: 100\r\n\r\n{"transaction_id":'
        )
        answer = b""
        while part := line.recv(65_536):  # until the server hangs up
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"/problems/too-slow" in answer


def test_a_long_answer_is_packed_for_whoever_can_unpack_it(client, conn):
    for number in range(20):
        put_alert(conn, number)
    conn.commit()
    packed = client.get("/v1/alerts", headers={"Accept-Encoding": "gzip"})
    plain = client.get("/v1/alerts", headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert packed.json() == plain.json()
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3


def test_what_is_short_or_packed_already_goes_as_it_is(client):
    packs = {"Accept-Encoding": "gzip"}
    assert "content-encoding" not in client.get("/healthz", headers=packs).headers
    for form in ("csv", "parquet"):
        answer = client.get(f"/v1/alerts/export?format={form}", headers=packs)
        assert ("content-encoding" in answer.headers) == (form == "csv")
    with client.stream("GET", "/v1/alerts/stream", headers=packs) as stream:
        assert "content-encoding" not in stream.headers

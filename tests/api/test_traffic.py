"""Decisions over time through the API; what they are counted from is tested with the store."""

from __future__ import annotations

import httpx
import pytest

from tests.api.rows import put_score

SPAN = {"since": "2026-03-01T12:00:00Z", "until": "2026-03-01T15:00:00Z"}


@pytest.fixture
def filled(client, conn):
    """A client of an API over four decisions in two hours and one of later."""
    given = [(0, "approve", 0.01), (60, "decline", 0.95), (3600, "approve", 0.02)]
    for n, (seconds, decision, score) in enumerate(given):
        put_score(conn, f"t-{n}", seconds, decision=decision, score=score)
    put_score(conn, "t-yen", 90, currency="JPY", amount_minor=500, terminal_id="a/b?c")
    put_score(conn, "t-later", 4 * 3600)
    conn.commit()
    return client


def test_decisions_are_told_by_bucket_kind_and_currency(filled):
    reply = filled.get("/v1/traffic", params=SPAN).json()
    assert reply["step"] == "hour"
    assert reply["series"] == [
        {
            "currency": "EUR",
            "decision": "approve",
            "buckets": ["2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z"],
            "decisions": [1, 1],
            "amount_minor": [1234, 1234],
        },
        {
            "currency": "EUR",
            "decision": "decline",
            "buckets": ["2026-03-01T12:00:00Z"],
            "decisions": [1],
            "amount_minor": [1234],
        },
        {
            "currency": "JPY",
            "decision": "approve",
            "buckets": ["2026-03-01T12:00:00Z"],
            "decisions": [1],
            "amount_minor": [500],
        },
    ]


def test_scores_and_latencies_are_spread_over_the_same_span(filled):
    reply = filled.get("/v1/traffic", params=SPAN).json()
    assert (reply["scores"][0]["low"], reply["scores"][-1]["high"]) == (0, 1)
    assert sum(one["decisions"] for one in reply["scores"]) == 4
    assert [one["decisions"] for one in reply["scores"] if one["low"] == 0.9] == [1]
    assert reply["latency"] == {"p50": 300, "p95": 300, "p99": 300}  # scored today, of March


def test_where_nothing_was_decided_there_is_nothing(client):
    reply = client.get("/v1/traffic", params=SPAN | {"step": "minute"}).json()
    assert (reply["series"], reply["latency"]) == ([], None)
    assert {one["decisions"] for one in reply["scores"]} == {0}


def test_a_terminal_has_its_own_series_whatever_its_name(filled):
    def told(terminal_id, **asked):
        given = SPAN | {"terminal_id": terminal_id} | asked
        reply = filled.get("/v1/traffic/terminals", params=given).json()
        assert reply["terminal_id"] == terminal_id
        return reply["series"]

    (series,) = told("terminal-1")
    assert series["currency"] == "EUR"
    assert (series["decisions"], series["not_approved"]) == ([2, 1], [1, 0])
    assert told("a/b?c")[0]["decisions"] == [1]
    assert told("a/b?c", step="day") == []  # the day begins before the span
    assert told("nobody") == []


@pytest.mark.parametrize("path", ["/v1/traffic", "/v1/traffic/terminals?terminal_id=terminal-1"])
@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "since"),
        ({"since": "2026-03-01T12:00:00", "until": SPAN["until"]}, "since"),
        ({"since": SPAN["until"], "until": SPAN["since"]}, "until"),
        ({"since": SPAN["since"], "until": SPAN["since"]}, "until"),
        ({"since": "2026-01-01T00:00:00Z", "until": "2026-05-01T00:00:00Z"}, "until"),
        ({"since": "0001-01-01T00:00:00Z", "until": "9999-01-01T00:00:00Z"}, "until"),
        (SPAN | {"step": "week"}, "step"),
        (SPAN | {"terminal": "terminal-1"}, "terminal"),
    ],
)
def test_a_span_that_is_wrong_or_too_long_is_422_and_named(client, path, asked, field):
    answer = client.get(str(httpx.URL(path).copy_merge_params(asked)))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in [fault["field"] for fault in answer.json()["errors"]]


def test_the_longest_spans_are_taken(client):
    for step, until in (
        ("minute", "2026-03-03T00:00:00Z"),
        ("hour", "2026-06-01T12:00:00Z"),
        ("day", "2031-03-05T12:00:00Z"),
    ):
        span = {"step": step, "since": SPAN["since"], "until": until}
        assert client.get("/v1/traffic", params=span).status_code == 200

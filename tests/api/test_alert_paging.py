"""The list of alerts, paged through while alerts are raised."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import httpx
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from tests.api.rows import put_alert

SCORES = [0.31, 0.5, 0.5000001, 0.875, 1.0]
AMOUNTS = [0, 100, 100, 43_000, 2**62]
CARDS = ["card-1", "card-2"]
TIMES = st.integers(0, 20)  # few, so that several alerts are of one moment
ALERTS = st.fixed_dictionaries(
    {
        "seconds": TIMES,
        "score": st.sampled_from(SCORES),
        "amount_minor": st.sampled_from(AMOUNTS),
        "card_token": st.sampled_from(CARDS),
        "decision": st.sampled_from(["review", "decline"]),
        "currency": st.sampled_from(["EUR", "EUR", "USD"]),
    }
)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "card_token": st.sampled_from(CARDS),
        "decision": st.sampled_from(["review", "decline"]),
        "min_score": st.sampled_from(SCORES),
        "max_score": st.sampled_from(SCORES),
        "max_amount_minor": st.sampled_from(AMOUNTS),
    },
)
# How each order compares two alerts; the oldest first is the newest first from behind.
ORDERS = {
    "newest": lambda alert: (
        -datetime.fromisoformat(alert["created_at"]).timestamp(),
        alert["alert_id"],
    ),
    "score": lambda alert: (-alert["score"], alert["alert_id"]),
    "amount": lambda alert: (-alert["amount_minor"], alert["alert_id"]),
}
ORDERS["oldest"] = ORDERS["newest"]


def matches(alert: dict[str, Any], asked: dict[str, Any]) -> bool:
    return (
        all(alert[name] == asked[name] for name in ("card_token", "decision") if name in asked)
        and asked.get("min_score", 0) <= alert["score"] <= asked.get("max_score", 1)
        and alert["amount_minor"] <= asked.get("max_amount_minor", 2**63)
        and alert["currency"] == asked.get("currency", alert["currency"])
    )


def every(client: httpx.Client) -> list[dict[str, Any]]:
    """All alerts, by a list that nothing is added to meanwhile."""
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        params = {"limit": 200} | ({"after": after} if after else {})
        page = client.get("/v1/alerts", params=params).raise_for_status().json()
        found += page["data"]
        after = page["next"]
        if after is None:
            return found


@settings(
    max_examples=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # each example is dozens of requests
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    before=st.lists(ALERTS, max_size=12),
    between=st.lists(st.lists(ALERTS, max_size=4), min_size=1, max_size=4),
    asked=FILTERS,
    order=st.sampled_from(sorted(ORDERS)),
    limit=st.integers(1, 7),
)
def test_none_that_was_there_is_missed_and_none_is_met_twice(
    client: httpx.Client,
    conn: Connection,
    before: list[dict[str, Any]],
    between: list[list[dict[str, Any]]],
    asked: dict[str, Any],
    order: str,
    limit: int,
) -> None:
    for alert in before:
        put_alert(conn, **alert)
    conn.commit()
    given = asked | ({"currency": "EUR"} if order == "amount" else {})
    there = {alert["alert_id"] for alert in every(client) if matches(alert, given)}
    arrivals = iter(between)
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        params = given | {"sort": order, "limit": limit}
        page = client.get(
            "/v1/alerts", params=params if after is None else params | {"after": after}
        )
        body = page.raise_for_status().json()
        found += body["data"]
        after = body["next"]
        if after is None:
            break
        assert len(body["data"]) == limit
        for alert in next(arrivals, []):
            put_alert(conn, **alert)
        conn.commit()
    met = Counter(alert["alert_id"] for alert in found)
    assert there <= set(met)
    assert set(met.values()) <= {1}
    assert all(matches(alert, given) for alert in found)
    places = [ORDERS[order](alert) for alert in found]
    assert places == sorted(places, reverse=order == "oldest")

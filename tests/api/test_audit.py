"""The audit, read through the API."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from api import create_app
from tests.api.conftest import served
from tests.api.keys import ADMIN, bearer, put_key
from tests.api.rows import at, put_alert
from tidegate import keys
from tidegate.access import Role


@pytest.fixture
def audited(conn):
    """Five rows of two people, the last two at one time."""
    for n, actor in enumerate(("ann", "bob", "ann", "bob", "ann")):
        conn.execute(
            "INSERT INTO audit (at, actor, action, subject, after)"
            " VALUES (%s, %s, %s, %s, jsonb_build_object('n', %s::integer))",
            (at(min(n, 3)), actor, f"alert.{n % 2}", f"a{n}", n),
        )
    conn.commit()


def seen(client, **given):
    answer = client.get("/v1/audit", params=given)
    assert answer.status_code == 200, answer.text
    return [row["after"]["n"] for row in answer.json()["data"]]


def test_rows_come_newest_first_in_pages(client, audited):
    found, after = [], None
    while True:
        given = {"limit": 2} | ({"after": after} if after else {})
        page = client.get("/v1/audit", params=given).json()
        found += [row["after"]["n"] for row in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert found == [4, 3, 2, 1, 0]


def test_rows_are_filtered_by_who_what_and_when(client, audited):
    assert seen(client, actor="ann") == [4, 2, 0]
    assert seen(client, action="alert.1") == [3, 1]
    assert seen(client, subject="a2") == [2]
    assert seen(client, since=at(1).isoformat(), until=at(3).isoformat()) == [2, 1]
    assert seen(client, since=(at(3) + timedelta(seconds=1)).isoformat()) == []
    assert seen(client, actor="ann", action="alert.1") == []


@pytest.mark.parametrize(
    "query", ["?after=WzFd", "?actor=%00", "?since=soon", "?who=ann", "?limit=0"]
)
def test_a_wrong_parameter_is_422(client, query):
    assert client.get(f"/v1/audit{query}").status_code == 422


def test_a_change_is_there_with_who_made_it(client, conn):
    alert_id = put_alert(conn, 1)
    conn.commit()
    key = put_key(conn, Role.ANALYST, name="ann")
    sent = bearer(key) | {"If-Match": '"1"'}
    answer = client.patch(f"/v1/alerts/{alert_id}", json={"assignee": "ann"}, headers=sent)
    assert answer.status_code == 200
    client.post(f"/v1/alerts/{alert_id}/comments", json={"text": "x"})
    rows = client.get("/v1/audit", params={"subject": str(alert_id)}).json()["data"]
    read = keys.read(key)
    assert read is not None
    ann = f"key:{read.prefix} (ann)"
    assert [(row["actor"], row["action"]) for row in rows] == [
        (ADMIN, "alert.comment"),
        (ann, "alert.change"),
    ]
    assert (rows[1]["before"], rows[1]["after"]) == ({"assignee": None}, {"assignee": "ann"})


def test_when_a_key_was_used_is_written_when_the_server_ends_at_the_latest(database, conn):
    key = put_key(conn, Role.VIEWER)
    app = create_app(database)
    with served(app) as address:
        assert httpx.get(f"{address}/v1/stats", headers=bearer(key)).status_code == 200
    (used,) = conn.execute("SELECT last_used_at > now() - interval '1 minute' FROM api_key")
    assert used == (True,)

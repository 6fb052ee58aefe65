"""Webhooks made, changed, rotated and taken away through the API, and the audit of it."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.api.keys import ADMIN
from tidegate.settings import Webhooks

URL = "https://hooks.example.com/tidegate?key=abc"


@pytest.fixture
def database(either_database: str) -> str:
    return either_database


def make(client, **given):
    answer = client.post("/v1/webhooks", json={"url": URL} | given)
    assert answer.status_code == 201, answer.text
    return answer.json()


def where(made):
    return f"/v1/webhooks/{made['webhook_id']}"


def assert_problem(answer, status, detail):
    assert answer.status_code == status, answer.text
    assert detail in answer.json()["detail"]
    return answer.json()


def audited(conn):
    return conn.execute(
        "SELECT action, actor, subject, before, after FROM audit ORDER BY audit_id"
    ).fetchall()


def test_a_webhook_shows_its_secret_once(client, conn):
    answer = client.post("/v1/webhooks", json={"url": URL, "description": "the case system"})
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    made = answer.json()
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert len(secret) > 40
    assert made["created_at"] == made["enabled_at"]
    assert made == {
        "webhook_id": made["webhook_id"],
        "url": URL,
        "description": "the case system",
        "kinds": ["alert.created", "alert.changed"],
        "status": "enabled",
        "disabled_because": None,
        "version": 1,
        "created_at": made["created_at"],
        "created_by": ADMIN,
        "changed_at": None,
        "enabled_at": made["created_at"],
        "delivered_at": None,
        "failing_since": None,
        "previous_until": None,
    }
    again = client.get(where(made))
    assert (again.json(), again.headers["etag"]) == (made, '"1"')
    assert client.get("/v1/webhooks").json() == {"data": [made], "next": None}
    assert client.get(where(made), headers={"If-None-Match": '"1"'}).status_code == 304


def test_the_audit_has_every_change_and_no_secret(client, conn):
    made = make(client)
    client.patch(where(made), json={"kinds": ["alert.created"]}, headers={"If-Match": '"1"'})
    rotated = client.post(f"{where(made)}/rotate", json={}, headers={"If-Match": '"2"'}).json()
    client.post(f"{where(made)}/test", json={})
    client.delete(where(made), headers={"If-Match": '"3"'})
    rows = audited(conn)
    assert [row[0].removeprefix("webhook.") for row in rows] == [
        "create",
        "change",
        "rotate",
        "test",
        "delete",
    ]
    assert {(actor, subject) for _, actor, subject, *_ in rows} == {(ADMIN, made["webhook_id"])}
    assert rows[0][4] == {
        "url": "https://hooks.example.com/...",
        "description": "",
        "kinds": ["alert.created", "alert.changed"],
        "status": "enabled",
    }
    assert rows[1][3:] == (
        {"kinds": ["alert.created", "alert.changed"]},
        {"kinds": ["alert.created"]},
    )
    for secret in (made["secret"], rotated["secret"], "abc"):
        assert secret not in str(rows)


def test_a_change_needs_the_etag_of_what_was_read(client):
    made = make(client)
    for path, send in [
        (
            where(made),
            lambda path, **given: client.patch(path, json={"status": "disabled"}, **given),
        ),
        (where(made), client.delete),
        (f"{where(made)}/rotate", lambda path, **given: client.post(path, json={}, **given)),
    ]:
        assert_problem(send(path), 428, "If-Match must be the ETag")
        assert_problem(send(path, headers={"If-Match": "*"}), 428, "If-Match must be the ETag")
        answer = send(path, headers={"If-Match": '"7"'})
        assert_problem(answer, 412, "changed meanwhile: it is at version 1")
        assert answer.headers["etag"] == '"1"'
    assert client.get(where(made)).json()["version"] == 1


def test_a_webhook_is_disabled_and_enabled_and_gets_only_what_comes_after(client):
    made = make(client)
    answer = client.patch(where(made), json={"status": "disabled"}, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.json()["status"]) == (200, "disabled")
    assert_problem(client.post(f"{where(made)}/test", json={}), 409, "disabled")
    again = client.patch(where(made), json={"status": "enabled"}, headers={"If-Match": '"2"'})
    assert again.json()["enabled_at"] > made["enabled_at"]
    same = client.patch(where(made), json={"status": "enabled"}, headers={"If-Match": '"3"'})
    assert (same.headers["etag"], same.json()) == ('"3"', again.json())


def test_a_rotated_secret_stays_for_a_day_beside_the_new_one(client):
    made = make(client)
    answer = client.post(f"{where(made)}/rotate", json={}, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert answer.json()["secret"] != made["secret"]
    assert answer.json()["previous_until"] > made["created_at"]


def test_a_webhook_that_is_deleted_is_gone_with_its_deliveries(client, conn):
    made = make(client)
    client.post(f"{where(made)}/test", json={})
    assert len(client.get(f"{where(made)}/deliveries").json()["data"]) == 1
    assert client.delete(where(made), headers={"If-Match": '"1"'}).status_code == 204
    assert_problem(client.get(where(made)), 404, "no such webhook")
    assert conn.execute("SELECT count(*) FROM webhook_delivery").fetchone() == (0,)


def test_what_is_not_there_is_404(client):
    path = f"/v1/webhooks/{uuid4()}"
    tag = {"If-Match": '"1"'}
    assert_problem(client.patch(path, json={}, headers=tag), 404, "no such webhook")
    assert_problem(client.delete(path, headers=tag), 404, "no such webhook")
    assert_problem(client.post(f"{path}/rotate", json={}, headers=tag), 404, "no such webhook")
    assert_problem(client.post(f"{path}/test", json={}), 404, "no such webhook")
    assert_problem(client.get(f"{path}/deliveries"), 404, "no such webhook")
    path = where(make(client))
    answer = client.post(f"{path}/deliveries/7/redeliver", json={})
    assert_problem(answer, 404, "no such delivery")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "http://hooks.example.com/"}, "url"),
        ({"url": "ftp://hooks.example.com/"}, "url"),
        ({"url": "https:///path"}, "url"),
        ({"url": "hooks.example.com"}, "url"),
        ({"url": "https://user:secret@hooks.example.com/"}, "url"),
        ({"url": "https://hooks.example.com/#part"}, "url"),
        ({"url": "https://hooks.example.com:0/"}, "url"),
        ({"url": "https://hooks.example.com:99999/"}, "url"),
        ({"url": "https://hooks.example.com/ x"}, "url"),
        ({"url": "https://hooks.example.com/" + "x" * 2000}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://[::1]/"}, "url"),
        ({"url": "https://169.254.169.254/latest"}, "url"),
        ({"url": URL, "kinds": []}, "kinds"),
        ({"url": URL, "kinds": ["ping"]}, "kinds.0"),
        ({"url": URL, "kinds": ["alert.created", "alert.created"]}, "kinds"),
        ({"url": URL, "description": "\0"}, "description"),
        ({"url": URL, "secret": "mine"}, "secret"),
        ({"url": URL, "status": "disabled"}, "status"),
    ],
)
def test_a_webhook_that_is_wrong_is_422_and_named(client, body, field):
    answer = client.post("/v1/webhooks", json=body)
    errors = assert_problem(answer, 422, "")["errors"]
    assert [(fault["in"], fault["field"]) for fault in errors] == [("body", field)]
    if "url" in body and field != "url":
        return
    path = where(make(client))
    tag = {"If-Match": '"1"'}
    for changes in ({"url": None}, *([body] if body else [])):
        assert client.patch(path, json=changes, headers=tag).status_code == 422
    assert client.get(path).json()["url"] == URL


def test_there_are_no_more_than_may_be(client, conn):
    made = make(client)
    conn.execute(
        "INSERT INTO webhook (url, description, kinds, secret, created_by)"
        " SELECT url, n::text, kinds, secret, created_by FROM webhook, generate_series(1, 49) AS n"
    )
    conn.commit()
    assert_problem(client.post("/v1/webhooks", json={"url": URL}), 409, "50 webhooks already")
    seen, after = [], None
    while True:
        given = {"limit": 20} | ({"after": after} if after else {})
        page = client.get("/v1/webhooks", params=given).json()
        seen += [webhook["webhook_id"] for webhook in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert len(seen) == len(set(seen)) == 50
    assert seen[-1] == made["webhook_id"]


def test_with_a_key_secrets_are_encrypted_where_they_are_stored(serve, database, conn):
    key = Fernet.generate_key().decode()
    api = serve(database, hooks=Webhooks(deliver=False, secret_keys=(key,)))
    made = make(api)
    api.post(f"{where(made)}/rotate", json={}, headers={"If-Match": '"1"'})
    (stored,) = conn.execute("SELECT secret || previous_secret FROM webhook").fetchall()
    assert made["secret"] not in stored[0]
    assert stored[0].count("fernet:") == 2
    assert key not in repr(Webhooks(secret_keys=(key,)))


def test_a_change_that_is_not_declared_as_json_is_415(client):
    made = make(client)
    for path in ("/v1/webhooks", f"{where(made)}/rotate", f"{where(made)}/test"):
        assert_problem(client.post(path, content=b"{}"), 415, "application/json")


def test_with_a_role_that_may_only_read_it_is_403_and_a_few_grants_are_enough(
    serve, database, conn: psycopg.Connection, reader
):
    role = sql.Identifier(reader)
    api = serve(make_conninfo(database, options=f"-c role={reader}"))
    assert_problem(api.post("/v1/webhooks", json={"url": URL}), 403, "may only read")
    for grant in (
        "GRANT INSERT, UPDATE, DELETE ON webhook, webhook_delivery TO {}",
        "GRANT UPDATE ON alert_event_position TO {}",
        "GRANT INSERT ON audit TO {}",
    ):
        conn.execute(sql.SQL(grant).format(role))
    conn.commit()
    made = make(api)
    assert api.delete(where(made), headers={"If-Match": '"1"'}).status_code == 204

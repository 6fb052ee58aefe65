"""Alerts changed and commented on through the API, on a real database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.api.keys import ADMIN
from tests.api.rows import put_alert
from tidegate.store import alert_work

JSON = {"content-type": "application/json"}


@pytest.fixture
def path(conn):
    """Where an alert is."""
    alert_id = put_alert(conn, 1)
    conn.commit()
    return f"/v1/alerts/{alert_id}"


def patch(client, path, changes, tag='"1"'):
    return client.patch(path, json=changes, headers={"If-Match": tag})


def assert_problem(answer, status, detail):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.json()["detail"]
    return answer.json()


def test_an_alert_has_its_version_as_its_etag(client, path):
    answer = client.get(path)
    assert answer.headers["etag"] == '"1"'
    body = answer.json()
    assert (body["version"], body["changed_at"], body["assignee"]) == (1, None, None)
    assert (body["snoozed_until"], body["outcome"]) == (None, None)


@pytest.mark.parametrize("tags", ['"1"', 'W/"1"', '"7", "1"', "*"])
def test_an_alert_that_is_there_already_is_not_sent_again(client, path, tags):
    answer = client.get(path, headers={"If-None-Match": tags})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    patch(client, path, {"assignee": "ann"})
    answer = client.get(path, headers={"If-None-Match": tags})
    assert answer.status_code == (304 if tags == "*" else 200)


def test_a_change_is_200_with_the_alert_and_its_new_etag(client, path, conn):
    until = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    changes = {"status": "investigating", "assignee": "ann", "snoozed_until": until.isoformat()}
    before = client.get(path).json()
    answer = patch(client, path, changes)
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == '"2"'
    body = answer.json()
    assert body["changed_at"]
    wanted = changes | {
        "snoozed_until": until.isoformat().replace("+00:00", "Z"),
        "version": 2,
        "changed_at": body["changed_at"],
    }
    assert body == before | wanted
    again = client.get(path)
    assert (again.json(), again.headers["etag"]) == (body, '"2"')
    assert client.get("/v1/alerts").json()["data"] == [body]
    rows = conn.execute("SELECT actor, action, subject FROM audit").fetchall()
    assert rows == [(ADMIN, "alert.change", path.rpartition("/")[2])]


def test_null_takes_away_and_what_is_left_out_stays(client, path):
    patch(client, path, {"assignee": "ann", "status": "investigating"})
    body = patch(client, path, {"assignee": None}, '"2"').json()
    assert (body["assignee"], body["status"], body["version"]) == (None, "investigating", 3)


def test_an_alert_is_closed_with_its_outcome_and_opened_without(client, path):
    body = patch(client, path, {"status": "closed", "outcome": "genuine"}).json()
    assert (body["status"], body["outcome"]) == ("closed", "genuine")
    body = patch(client, path, {"status": "open"}, '"2"').json()
    assert (body["status"], body["outcome"]) == ("open", None)


def test_what_changes_nothing_keeps_the_etag(client, path):
    for changes in ({}, {"status": "open"}, {"assignee": None}):
        answer = patch(client, path, changes)
        assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')


@pytest.mark.parametrize("headers", [{}, {"If-Match": "*"}])
def test_without_the_etag_of_what_was_read_it_is_428(client, path, headers):
    answer = client.patch(path, json={"assignee": "ann"}, headers=headers)
    assert_problem(answer, 428, "If-Match must be the ETag")
    assert client.get(path).json()["assignee"] is None


@pytest.mark.parametrize("tag", ['"1"', 'W/"2"', "2", '"', "", '"3", "1"', "\"2'", '"02"'])
def test_an_alert_that_was_changed_meanwhile_is_412_with_its_etag(client, path, tag):
    patch(client, path, {"assignee": "bob"})
    answer = patch(client, path, {"assignee": "ann"}, tag)
    assert_problem(answer, 412, "changed meanwhile: it is at version 2")
    assert answer.headers["etag"] == '"2"'
    assert client.get(path).json()["assignee"] == "bob"


def test_a_change_that_waited_for_another_one_is_412(client, path, conn):
    alert_id = UUID(path.rpartition("/")[2])
    alert_work.change(conn, alert_id, 1, {"assignee": "bob"}, actor="bob")
    with ThreadPoolExecutor(1) as other:
        late = other.submit(patch, client, path, {"assignee": "ann"})
        with pytest.raises(TimeoutError):
            late.result(0.5)
        conn.commit()
        answer = late.result(20)
    assert_problem(answer, 412, "at version 2")
    assert answer.headers["etag"] == '"2"'


def test_if_match_may_name_several(client, path):
    assert patch(client, path, {"assignee": "ann"}, '"7","1"').status_code == 200


def test_an_unknown_alert_is_404(client):
    path = f"/v1/alerts/{uuid4()}"
    assert_problem(patch(client, path, {}), 404, "no such alert")
    assert_problem(client.get(path, headers={"If-None-Match": "*"}), 404, "no such alert")
    assert_problem(client.get(f"{path}/comments"), 404, "no such alert")
    assert_problem(client.post(f"{path}/comments", json={"text": "?"}), 404, "no such alert")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "body"),
        (b"null", "body"),
        (b"[]", "body"),
        (b"{", "1"),
        (b'{"status": null}', "status"),
        (b'{"status": "gone"}', "status"),
        (b'{"status": "closed"}', "outcome"),
        (b'{"status": "closed", "outcome": null}', "outcome"),
        (b'{"status": "closed", "outcome": "maybe"}', "outcome"),
        (b'{"outcome": "fraud"}', "outcome"),
        (b'{"assignee": ""}', "assignee"),
        (b'{"assignee": 7}', "assignee"),
        (b'{"assignee": "\\u0000"}', "assignee"),
        (b'{"assignee": "\\ud800"}', "assignee"),
        (b'{"assignee": "' + b"x" * 257 + b'"}', "assignee"),
        (b'{"snoozed_until": "2026-03-01T12:00:00"}', "snoozed_until"),
        (b'{"snoozed_until": "2026-03-01T12:00:00Z"}', "snoozed_until"),
        (b'{"snoozed_until": "9999-12-31T23:59:59-23:00"}', "snoozed_until"),
        (b'{"snoozed_until": "0001-01-01T00:00:00+23:00"}', "snoozed_until"),
        (b'{"snoozed_until": "soon"}', "snoozed_until"),
        (b'{"score": 0.1}', "score"),
        (b'{"version": 7}', "version"),
    ],
)
def test_a_change_that_is_wrong_is_422_and_named(client, path, content, field):
    answer = client.patch(path, content=content, headers=JSON | {"If-Match": '"1"'})
    body = assert_problem(answer, 422, "")
    assert [(fault["in"], fault["field"]) for fault in body["errors"]] == [("body", field)]
    assert client.get(path).json()["version"] == 1


def test_a_change_that_is_not_declared_as_json_is_415(client, path):
    headers = {"content-type": "text/plain", "If-Match": '"1"'}
    assert_problem(client.patch(path, content=b"{}", headers=headers), 415, "application/json")
    answer = client.post(f"{path}/comments", content=b'{"text": "x"}')
    assert_problem(answer, 415, "application/json")


def test_a_comment_is_201_and_listed_and_leaves_the_etag(client, path, conn):
    answer = client.post(f"{path}/comments", json={"text": "Called the card's owner.\nNo answer."})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert client.get(f"{path}/comments").json() == {"data": [body], "next": None}
    assert body.pop("at")
    assert body == {
        "comment_id": 1,
        "alert_id": path.rpartition("/")[2],
        "author": ADMIN,
        "text": "Called the card's owner.\nNo answer.",
    }
    assert client.get(path).headers["etag"] == '"1"'
    rows = conn.execute("SELECT actor, action, subject FROM audit").fetchall()
    assert rows == [(ADMIN, "alert.comment", path.rpartition("/")[2])]


def test_comments_come_oldest_first_in_pages(client, path):
    assert client.get(f"{path}/comments").json() == {"data": [], "next": None}
    for n in range(5):
        client.post(f"{path}/comments", json={"text": str(n)})
    seen, after = [], None
    while True:
        given = {"limit": 2} | ({"after": after} if after else {})
        page = client.get(f"{path}/comments", params=given).json()
        seen += [comment["text"] for comment in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert seen == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"{}", "text"),
        (b'{"text": ""}', "text"),
        (b'{"text": null}', "text"),
        (b'{"text": "\\u0000"}', "text"),
        (b'{"text": "\\ud800"}', "text"),
        (b'{"text": "' + b"x" * 4001 + b'"}', "text"),
        (b'{"text": "x", "author": "ann"}', "author"),
        (b"[]", "body"),
    ],
)
def test_a_comment_that_is_wrong_is_422_and_named(client, path, content, field):
    answer = client.post(f"{path}/comments", content=content, headers=JSON)
    body = assert_problem(answer, 422, "")
    assert [(fault["in"], fault["field"]) for fault in body["errors"]] == [("body", field)]
    assert client.get(f"{path}/comments").json()["data"] == []


def test_a_comment_may_be_as_long_as_the_database_takes(client, path):
    text = "\N{WATER WAVE}" * 4000
    assert client.post(f"{path}/comments", json={"text": text}).json()["text"] == text


def test_with_a_role_that_may_only_read_it_is_403_and_a_few_grants_are_enough(
    serve, database, path, conn, reader
):
    role = sql.Identifier(reader)
    api = serve(make_conninfo(database, options=f"-c role={reader}"))
    assert_problem(patch(api, path, {"assignee": "ann"}), 403, "may only read")
    answer = api.post(f"{path}/comments", json={"text": "x"})
    assert_problem(answer, 403, "may only read")
    columns = "status, outcome, assignee, snoozed_until, version, changed_at"
    grant = f"GRANT UPDATE ({columns}) ON alert TO {{}}"
    conn.execute(sql.SQL(grant).format(role))
    conn.execute(sql.SQL("GRANT INSERT ON alert_comment, audit TO {}").format(role))
    conn.commit()
    assert patch(api, path, {"assignee": "ann"}).status_code == 200
    assert api.post(f"{path}/comments", json={"text": "x"}).status_code == 201

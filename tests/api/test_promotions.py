"""Models promoted and taken back through the API, on a real database."""

from __future__ import annotations

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.api.keys import ADMIN
from tests.api.rows import put_model, put_promotion

JSON = {"content-type": "application/json"}
BACK = "/v1/promotions/rollback"


def path(name):
    return f"/v1/models/{name}/promote"


@pytest.fixture
def running(conn):
    """A connection to a database whose flow runs three models."""
    put_model(conn, "champion")
    put_model(conn, "quick")
    put_model(conn, "forest", servable=False)
    conn.commit()
    return conn


def assert_problem(answer, status, detail):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.json()["detail"]
    return answer.json()


def serving(client):
    return [model["name"] for model in client.get("/v1/models").json()["data"] if model["serving"]]


def test_a_promotion_is_200_with_what_served_before(client, running):
    answer = client.post(path("quick"), json={"reason": "better"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert client.get("/v1/promotions").json()["data"] == [body]
    assert body.pop("at")
    assert body == {
        "promotion_id": 1,
        "model": "quick",
        "before": "champion",
        "actor": ADMIN,
        "reason": "better",
        "automatic": False,
        "undoes": None,
        "judged_at": None,
    }
    assert serving(client) == ["quick"]
    rows = running.execute("SELECT actor, action, subject FROM audit").fetchall()
    assert rows == [(ADMIN, "model.promote", "quick")]


def test_a_rollback_goes_back_and_says_what_it_undoes(client, running):
    client.post(path("quick"), json={})
    answer = client.post(BACK, json={"reason": "worse"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["model"], body["before"]) == ("champion", "quick")
    assert (body["undoes"], body["reason"], body["actor"]) == (1, "worse", ADMIN)
    assert serving(client) == ["champion"]
    assert_problem(client.post(BACK, json={}), 409, "no promotion to take back")


def test_the_body_may_be_empty_but_not_left_out_and_is_declared(client, running):
    assert client.post(path("quick"), json={}).json()["reason"] == ""
    assert client.post(BACK, json={}).status_code == 200
    for address in (path("quick"), BACK):
        assert_problem(client.post(address, headers=JSON), 422, "body")
    for headers in ({}, {"content-type": "application/x-www-form-urlencoded"}):
        for address in (path("quick"), BACK):
            assert_problem(client.post(address, headers=headers), 415, "application/json")
    assert serving(client) == ["champion"]


def test_an_unknown_model_is_404_and_not_repeated(client, running):
    answer = client.post(path("4111111111111111"), json={})
    assert_problem(answer, 404, "no such model")
    assert "4111111111111111" not in answer.text


def test_a_model_that_cannot_serve_or_serves_already_is_409(client, running):
    assert_problem(client.post(path("forest"), json={}), 409, "forest cannot serve")
    assert_problem(client.post(path("champion"), json={}), 409, "champion serves already")


def test_a_model_that_the_flow_never_ran_is_not_gone_back_to(client, running):
    put_promotion(running, "quick", "nobody")
    running.commit()
    assert_problem(client.post(BACK, json={}), 409, "no model nobody")


def test_a_model_may_be_called_as_a_route_is(client, running):
    put_model(running, "rollback")
    running.commit()
    assert client.get("/v1/models/rollback").json()["name"] == "rollback"
    assert client.post(path("rollback"), json={}).json()["model"] == "rollback"


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"[]", "body"),
        (b"{", "1"),
        (b'{"reason": 1}', "reason"),
        (b'{"reason": "\\u0000"}', "reason"),
        (b'{"reason": "\\ud800"}', "reason"),
        (b'{"reason": "' + b"x" * 1001 + b'"}', "reason"),
        (b'{"because": "x"}', "because"),
    ],
)
def test_a_body_that_is_wrong_is_422_and_named(client, running, content, field):
    for address in (path("quick"), BACK):
        body = assert_problem(client.post(address, content=content, headers=JSON), 422, "")
        assert [(fault["in"], fault["field"]) for fault in body["errors"]] == [("body", field)]
    assert serving(client) == ["champion"]


def test_a_reason_may_have_several_lines(client, running):
    reason = "Mondays\nand Tuesdays: Café"
    assert client.post(path("quick"), json={"reason": reason}).json()["reason"] == reason


def test_a_body_that_is_too_large_is_413(client, running):
    assert_problem(client.post(BACK, json={"reason": "x" * 200_000}), 413, "131,072 bytes")


def test_promotions_come_newest_first_in_pages(client, running):
    for name in ("quick", "champion", "quick"):
        client.post(path(name), json={})
    first = client.get("/v1/promotions", params={"limit": 2}).json()
    rest = client.get("/v1/promotions", params={"limit": 2, "after": first["next"]}).json()
    assert [row["promotion_id"] for row in first["data"] + rest["data"]] == [3, 2, 1]
    assert rest["next"] is None


def test_with_a_role_that_may_only_read_it_is_403_and_two_grants_are_enough(
    serve, database, running, reader
):
    role = sql.Identifier(reader)
    api = serve(make_conninfo(database, options=f"-c role={reader}"))
    assert_problem(api.post(path("quick"), json={}), 403, "may only read")
    running.execute(sql.SQL("GRANT INSERT ON promotion, audit TO {}").format(role))
    running.commit()
    assert api.post(path("quick"), json={}).status_code == 200
    assert api.post(BACK, json={}).status_code == 200

from __future__ import annotations

import re
from html import escape
from pathlib import Path

import pytest

from api import create_app, kinds
from api.access import policy
from tests.api.keys import OPEN
from tidegate.access import Scope

BAD = [
    ("/v1/alerts?limit=0", "query", "limit"),
    ("/v1/alerts?limit=201", "query", "limit"),
    ("/v1/alerts?limit=many", "query", "limit"),
    ("/v1/alerts?status=gone", "query", "status"),
    ("/v1/alerts?decision=approve", "query", "decision"),
    ("/v1/alerts?min_score=1.1", "query", "min_score"),
    ("/v1/alerts?min_score=nan", "query", "min_score"),
    ("/v1/alerts?max_score=-0.1", "query", "max_score"),
    ("/v1/alerts?min_amount_minor=-1", "query", "min_amount_minor"),
    ("/v1/alerts?max_amount_minor=9223372036854775808", "query", "max_amount_minor"),
    ("/v1/alerts?outcome=maybe", "query", "outcome"),
    ("/v1/alerts?assignee=", "query", "assignee"),
    ("/v1/alerts?unassigned=perhaps", "query", "unassigned"),
    ("/v1/alerts?snoozed=perhaps", "query", "snoozed"),
    ("/v1/alerts?reason=%00", "query", "reason"),
    ("/v1/alerts/00000000-0000-0000-0000-000000000000/comments?after=WzFd", "query", "after"),
    ("/v1/alerts?card_token=", "query", "card_token"),
    ("/v1/alerts?card_token=%00", "query", "card_token"),
    ("/v1/alerts?card_token=" + "x" * 257, "query", "card_token"),
    ("/v1/alerts?descision=decline", "query", "descision"),
    ("/v1/alerts?after=x", "query", "after"),
    ("/v1/alerts?after=" + "x" * 513, "query", "after"),
    ("/v1/alerts/17", "path", "alert_id"),
    ("/v1/decisions?since=2026-03-01T12:00:00", "query", "since"),
    ("/v1/decisions?until=soon", "query", "until"),
    ("/v1/decisions?after=WyJhbGVydCJd", "query", "after"),
    ("/v1/decisions/" + "x" * 65, "path", "transaction_id"),
    ("/v1/decisions/%00", "path", "transaction_id"),
    ("/v1/models?after=%00", "query", "after"),
    ("/v1/models/champion?points=1", "query", "points"),
    ("/v1/promotions?after=WzFd", "query", "after"),
    ("/v1/promotions?model=quick", "query", "model"),
    ("/v1/dead-letters?after=WzFd", "query", "after"),
    ("/v1/dead-letters?reason=%00", "query", "reason"),
    ("/v1/dead-letters?replayed=perhaps", "query", "replayed"),
]


@pytest.fixture
def alone(serve, tmp_path):
    """A client of an API without a database: what is wrong is told before one is needed."""
    return serve(f"postgresql://nobody@/none?host={tmp_path}", pool_timeout=0.2, access=OPEN)


def assert_problem(answer, status):
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["status"] == status
    kind = kinds.KINDS[body["type"].removeprefix("/problems/")]
    assert kind.status == status
    assert body["title"] == kind.title
    return body


@pytest.mark.parametrize(("path", "where", "field"), BAD)
def test_a_wrong_parameter_is_422_and_named(alone, path, where, field):
    body = assert_problem(alone.get(path), 422)
    assert [(fault["in"], fault["field"]) for fault in body["errors"]] == [(where, field)]
    assert body["errors"][0]["detail"]


def test_a_value_at_fault_is_not_repeated(alone):
    answer = alone.get("/v1/alerts?status=4111111111111111&after=4111111111111111")
    assert_problem(answer, 422)
    assert "4111111111111111" not in answer.text


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1", "/static/nothing.css", "/v1/alerts/"])
def test_an_unknown_path_is_404(alone, path):
    assert_problem(alone.get(path), 404)


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/"])
def test_only_static_files_are_served_as_such(alone, path):
    assert_problem(alone.get(path), 404)


def test_an_unknown_method_is_405_and_the_known_ones_are_told(alone):
    answer = alone.post("/v1/alerts")
    assert_problem(answer, 405)
    assert answer.headers["allow"] == "GET"


def test_a_failure_of_ours_is_500_without_internals(serve, database, caplog, monkeypatch):
    monkeypatch.setitem(policy.ROUTES, ("GET", "/v1/broken/{secret}"), Scope.STATS_READ)
    app = create_app(database)

    @app.get("/v1/broken/{secret}")
    def broken(secret: str) -> None:
        raise RuntimeError(f"internals of {secret}")

    answer = serve(database, app=app).get("/v1/broken/4111")
    body = assert_problem(answer, 500)
    assert "detail" not in body
    assert "internals" not in answer.text
    assert "internals" in caplog.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/v1/alerts", "/v1/decisions", "/v1/decisions/t", "/v1/models", "/v1/promotions", "/v1/stats"],
)
def test_without_its_database_every_question_is_503(alone, tmp_path, path):
    answer = alone.get(path)
    body = assert_problem(answer, 503)
    assert body["detail"] == "the database does not answer"
    assert answer.headers["retry-after"] == "5"
    assert str(tmp_path) not in answer.text


def test_a_database_without_tables_is_503_with_the_way_out(serve, empty_database):
    body = assert_problem(serve(empty_database, access=OPEN).get("/v1/alerts"), 503)
    assert "tidegate migrate" in body["detail"]


def test_a_question_that_takes_too_long_is_503(serve, database, conn):
    conn.execute("LOCK TABLE alert IN ACCESS EXCLUSIVE MODE")
    body = assert_problem(serve(database, query_timeout=0.2).get("/v1/alerts"), 503)
    assert "too long" in body["detail"]


GOOD = {
    ("post", "/v1/dead-letters/{dead_letter_id}/replay"): "202",
    ("post", "/v1/alerts/{alert_id}/comments"): "201",
    ("post", "/v1/labels"): "202",
    ("post", "/v1/webhooks"): "201",
    ("delete", "/v1/webhooks/{webhook_id}"): "204",
    ("post", "/v1/webhooks/{webhook_id}/test"): "202",
    ("post", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"): "202",
}
KINDS = {
    ("get", "/v1/alerts/export"): ["text/csv", "application/vnd.apache.parquet"],
    ("get", "/v1/alerts/stream"): ["text/event-stream"],
    ("delete", "/v1/webhooks/{webhook_id}"): [],
}
# Nothing that is there stands in their way; what was changed meanwhile is another thing.
NO_CONFLICT = ("/comments", "/disposition", "/labels", "/rotate")


def test_the_openapi_declares_every_answer_with_its_type(alone):
    schema = alone.get("/openapi.json").json()
    assert "HTTPValidationError" not in str(schema)
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            kinds = {status: list(answer.get("content", ())) for status, answer in answers.items()}
            good = GOOD.get((method, path), "200")
            wanted = KINDS.get((method, path), ["application/json"])
            assert kinds.pop(good) == wanted, path
            assert all(answers[good]["content"][kind]["schema"] for kind in wanted), path
            assert kinds.pop("304", []) == [], path
            if path == "/v1/transactions":
                assert kinds.pop("202") == ["application/json"]
            if path.startswith("/v1"):
                assert "503" in kinds, path
            assert all(kind == ["application/problem+json"] for kind in kinds.values()), path
            if "{" in path:
                assert "404" in kinds, path
            if operation.get("parameters"):
                assert "422" in kinds, path
            if method != "get":
                assert "403" in kinds, path
            if method in ("patch", "post"):
                assert {"408", "413", "415", "422"} <= set(kinds), path
            if method == "post" and not path.endswith(NO_CONFLICT):
                assert "409" in kinds, path
            if method == "patch":
                assert {"412", "428"} <= set(kinds), path


def test_whatever_changes_anything_refuses_what_is_not_declared_as_json(alone):
    for path, operations in alone.get("/openapi.json").json()["paths"].items():
        for method in set(operations) - {"get"}:
            if method == "delete":
                continue  # has no body, and no page of another site can send it unasked
            answer = alone.request(method, re.sub(r"{\w+}", "1", path), content=b"{}")
            assert_problem(answer, 415)


@pytest.mark.parametrize("kind", kinds.KINDS.values(), ids=lambda kind: kind.name)
def test_the_type_of_a_problem_leads_to_what_it_means(alone, kind):
    page = alone.get(kind.type, headers={"Authorization": ""})
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert escape(kind.title, quote=False) in page.text
    assert str(kind.status) in page.text


def test_what_is_no_kind_of_problem_has_no_page(alone):
    assert_problem(alone.get("/problems/nothing"), 404)


def test_the_documentation_lists_every_kind():
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `([a-z-]+)` \| (\d{3}) \| (.+) \|$", text, re.MULTILINE)
    assert found == [(kind.name, str(kind.status), kind.title) for kind in kinds.KINDS.values()]


def test_the_openapi_names_the_kinds_that_each_operation_may_answer_with(alone):
    paths = alone.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if status < "400":
                    continue
                assert answer["description"], (path, status)
                [(media_type, content)] = answer["content"].items()
                assert media_type == "application/problem+json"
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                assert content["examples"], (path, status)
                for name, example in content["examples"].items():
                    assert example["value"]["type"] == f"/problems/{name}"
                    assert str(kinds.KINDS[name].status) == status

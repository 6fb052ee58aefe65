"""Every route, and who may call it: generated from the application, so that none is forgotten."""

from __future__ import annotations

import re
from uuid import UUID

import pytest

from api import create_app
from api.access import policy
from api.access.policy import Open
from api.routing import flat
from tests.api.keys import bearer, put_key
from tidegate.access import ROLES, Role, Scope, scopes_of

# Written out once more, by role, so that a slip in the policy or in a role is seen here.
VIEWER = {
    "GET /",
    "GET /alerts",
    "GET /alerts/{alert_id}",
    "GET /models",
    "GET /stream",
    "GET /v1/alerts",
    "GET /v1/alerts/export",
    "GET /v1/alerts/stream",
    "GET /v1/alerts/{alert_id}",
    "GET /v1/alerts/{alert_id}/comments",
    "GET /v1/alerts/{alert_id}/similar",
    "GET /v1/cards/{card_token:path}",
    "GET /v1/cases",
    "GET /v1/cases/{case_id}",
    "GET /v1/dead-letters",
    "GET /v1/decisions",
    "GET /v1/decisions/{transaction_id:path}",
    "GET /v1/decisions/{transaction_id:path}/replay",
    "GET /v1/models",
    "GET /v1/models/{name}",
    "GET /v1/promotions",
    "GET /v1/stats",
    "GET /v1/terminals/{terminal_id:path}",
    "GET /v1/traffic",
    "GET /v1/traffic/terminals",
}
MAY = {
    Role.VIEWER: VIEWER,
    Role.ANALYST: VIEWER
    | {
        "PATCH /v1/alerts/{alert_id}",
        "PATCH /v1/cases/{case_id}",
        "POST /v1/alerts/{alert_id}/comments",
        "POST /v1/alerts/{alert_id}/disposition",
        "POST /v1/labels",
    },
    Role.INGEST: {
        "GET /v1/decisions/{transaction_id:path}",
        "POST /v1/labels",
        "POST /v1/transactions",
    },
}
PUBLIC = {
    "GET /healthz",
    "GET /login",
    "GET /metrics",
    "GET /openapi.json",
    "GET /problems/{name}",
    "GET /readyz",
    "GET /static",
    "POST /login",
}
CALLERS = {"GET /v1/session", "DELETE /v1/session"}


def every_route():
    app = create_app("postgresql://nobody@/none?host=/nowhere")
    for route in flat(app.routes):
        for method in sorted((getattr(route, "methods", None) or {"GET"}) - {"HEAD"}):
            yield method, getattr(route, "path")  # noqa: B009


ROUTES = sorted(set(every_route()))


def allowed(who, route):
    """Whether somebody of this role may call a route; None: nobody at all who is known."""
    if route in PUBLIC:
        return True
    if who in ("nobody", "revoked", "expired", "wrong secret"):
        return False
    return route in CALLERS or who is Role.ADMIN or route in MAY[who]


def test_every_route_is_in_the_policy_and_the_policy_has_no_other():
    assert set(ROUTES) - set(policy.ROUTES) == set(), "add them to api/access/policy.py"
    assert set(policy.ROUTES) - set(ROUTES) == set(), "there is no such route"


def test_every_scope_is_needed_by_a_route_or_the_command_line():
    needed = {need for need in policy.ROUTES.values() if isinstance(need, Scope)}
    assert set(Scope) - needed == {Scope.KEYS_ADMIN}


def test_the_policy_gives_each_role_its_routes_and_no_other():
    for role, scopes in ROLES.items():
        found = {f"{m} {p}" for (m, p), need in policy.ROUTES.items() if need in scopes}
        everything = {f"{m} {p}" for m, p in policy.ROUTES} - PUBLIC - CALLERS
        assert found == MAY.get(role, everything), role
    opened = {f"{m} {p}" for (m, p), need in policy.ROUTES.items() if need is Open.EVERYBODY}
    assert opened == PUBLIC


@pytest.fixture
def patient(monkeypatch, database, serve):
    """A client of an API that takes any number of wrong keys, and sends none by itself."""
    monkeypatch.setattr("api.access.credentials.WRONG_BURST", 10_000)
    return serve(database, key=None)


@pytest.fixture
def everybody(conn):
    """What each sends to be known."""
    sent = {role: bearer(put_key(conn, role)) for role in Role}
    good = put_key(conn, Role.ADMIN)
    return sent | {
        "nobody": {},
        "revoked": bearer(put_key(conn, Role.ADMIN, revoked="-1 minute")),
        "expired": bearer(put_key(conn, Role.ADMIN, expires="-1 second")),
        "wrong secret": bearer(good[:-1] + ("A" if good[-1] != "A" else "B")),
    }


def test_every_route_answers_each_role_as_the_policy_says(patient, everybody):
    for method, path in ROUTES:
        for who, headers in everybody.items():
            answer = ask(patient, method, path, headers)
            route = f"{method} {path}"
            if allowed(who, route):
                # Past the guard; what the route itself says of an empty request is another thing.
                if route != "POST /login":  # which is limited by itself
                    assert answer.status_code not in (401, 403, 429), (route, who)
            elif isinstance(who, Role):
                assert answer.status_code == 403, (route, who)
                problem(answer, 403)
            elif policy.is_page(path):
                assert answer.status_code == 303
                assert answer.headers["location"].startswith("/login?next=/")
            else:
                problem(answer, 401)
                assert answer.headers["www-authenticate"] == 'Bearer realm="tidegate"'


def ask(client, method, path, headers):
    address = re.sub(r"{alert_id}", str(UUID(int=7)), path)
    address = re.sub(r"{\w+(:path)?}", "1", address)
    given = headers | ({} if method == "GET" else {"content-type": "application/json"})
    with client.stream(method, address, headers=given) as answer:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            answer.read()  # a stream of events has no end
        return answer


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["status"] == status
    return answer.json()


def test_a_route_that_the_policy_does_not_name_is_closed_for_everybody(
    serve, database, conn, caplog
):
    app = create_app(database)
    reached = []

    @app.get("/v1/forgotten")
    def forgotten() -> None:
        reached.append(1)

    api = serve(database, app=app)
    problem(api.get("/v1/forgotten"), 403)
    problem(api.get("/v1/forgotten", headers=bearer(put_key(conn, Role.VIEWER))), 403)
    problem(api.get("/v1/forgotten", headers={"authorization": ""}), 401)
    assert reached == []
    assert "not in the policy" in caplog.text


def test_a_route_that_the_guard_did_not_see_is_closed(serve, database, monkeypatch):
    api = serve(database)
    monkeypatch.setattr("api.routing.matched", lambda routes, scope: None)
    problem(api.get("/v1/alerts"), 403)
    problem(api.get("/v1/stats"), 403)


def test_a_request_that_is_refused_is_not_read(client):
    answer = client.patch(
        f"/v1/alerts/{UUID(int=7)}",
        content=b"{",
        headers={"authorization": "Bearer x", "content-type": "application/json"},
    )
    problem(answer, 401)


@pytest.mark.parametrize(
    "given",
    [
        "Basic YTpi",
        "Bearer",
        "Bearer x",
        "Bearer tg_",
        "Bearer tg_testadmin_",
        "Bearer tg_testadmin_" + "x" * 43,
        "Bearer tg_testadmin_" + "\xe9" * 43,
        "Bearer " + "x" * 9000,
        "tg_testadmin_" + "x" * 43,
    ],
)
def test_what_is_no_good_key_is_401(client, given):
    body = problem(
        client.get("/v1/alerts", headers={"authorization": given.encode("latin-1")}), 401
    )
    assert "x" * 43 not in str(body)


def test_the_scheme_may_be_written_in_any_case(client):
    key = client.headers["authorization"].partition(" ")[2]
    assert client.get("/v1/alerts", headers={"authorization": f"bearer {key}"}).status_code == 200


def test_a_key_with_narrower_scopes_may_just_those(client, conn):
    key = bearer(put_key(conn, Role.ANALYST, scopes=["alerts:read", "models:promote"]))
    assert client.get("/v1/alerts", headers=key).status_code == 200
    body = problem(client.get("/v1/stats", headers=key), 403)
    assert body["detail"] == "this needs the scope stats:read"
    # No more than the role, whatever the key says.
    answer = client.post("/v1/promotions/rollback", headers=key, json={})
    assert "models:promote" in problem(answer, 403)["detail"]


def test_a_key_of_an_unknown_role_may_nothing(client, conn):
    key = bearer(put_key(conn, "auditor"))
    problem(client.get("/v1/alerts", headers=key), 403)
    assert client.get("/v1/session", headers=key).json()["scopes"] == []


def test_who_may_list_decisions_may_look_one_up():
    assert Scope.DECISIONS_LOOKUP in scopes_of("viewer", ["decisions:read"])
    assert scopes_of("ingest", ["decisions:read"]) == {Scope.DECISIONS_LOOKUP}
    assert scopes_of("viewer", []) == frozenset()


def test_the_openapi_says_what_each_operation_needs(client):
    schema = client.get("/openapi.json", headers={"authorization": ""}).json()
    assert set(schema["components"]["securitySchemes"]) == {"key", "session"}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            answers = set(operation["responses"])
            if not path.startswith("/v1"):
                assert operation["security"] == []
                assert "429" in answers
                continue
            assert {"401", "403", "429"} <= answers, path
            first, second = operation["security"]
            assert first["key"] == second["session"]
            if path != "/v1/session":
                (scope,) = first["key"]
                assert scope in set(Scope)
                assert f"`{scope}`" in operation["description"], (method, path)

"""Sessions of the pages: begun with a key, bound to it, and safe from other sites."""

from __future__ import annotations

import re
from ipaddress import ip_network
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import expect

from api.access import cookies, remembered
from tests.api.keys import ADMIN_KEY, OPEN, bearer, put_key
from tests.api.rows import put_alert
from tests.waiting import wait_until
from tidegate import keys
from tidegate.access import Role
from tidegate.settings import Access
from tidegate.store import api_keys


def read(text):
    """The parts of a key."""
    key = keys.read(text)
    assert key is not None
    return key


@pytest.fixture
def stranger(serve, database):
    """A client without a key, that keeps cookies."""
    return serve(database, key=None)


@pytest.fixture
def key(conn, stranger):
    return put_key(conn, Role.ANALYST, name="ann")


def log_in(client, key, **form):
    return client.post("/login", data={"key": key} | form)


def token(client):
    return {"X-CSRF-Token": client.get("/v1/session").json()["csrf_token"]}


def test_a_session_begins_with_a_key_and_is_who_the_key_is(stranger, key, conn):
    assert stranger.get("/").headers["location"] == "/login?next=/"
    answer = log_in(stranger, key)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert stranger.get("/").status_code == 200
    assert stranger.get("/v1/alerts").status_code == 200
    body = stranger.get("/v1/session").json()
    actor = f"key:{read(key).prefix} (ann)"
    assert (body["actor"], body["role"], body["name"]) == (actor, "analyst", "ann")
    assert conn.execute("SELECT actor, action FROM audit").fetchall() == [(actor, "session.begin")]


def test_the_cookie_is_for_this_site_alone_and_for_no_script(stranger, key):
    cookie = log_in(stranger, key).headers["set-cookie"]
    name, *flags = cookie.split("; ")
    assert re.fullmatch(r"tidegate=[\w-]{43}", name)
    assert set(flags) == {"Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"}


def test_by_https_the_cookie_is_secure_and_of_this_host_alone(stranger, key):
    # As a proxy on this machine says it.
    headers = {"X-Forwarded-Proto": "https"}
    answer = stranger.post("/login", data={"key": key}, headers=headers)
    name, *flags = answer.headers["set-cookie"].split("; ")
    assert re.fullmatch(r"__Host-tidegate=[\w-]{43}", name)
    assert set(flags) == {"Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict", "Secure"}
    sent = {"cookie": name}
    assert stranger.get("/v1/stats", headers=headers | sent).status_code == 200
    assert stranger.get("/v1/stats", headers=sent).status_code == 401
    plain = {"cookie": name.removeprefix("__Host-")}
    assert stranger.get("/v1/stats", headers=headers | plain).status_code == 401


def test_by_plain_http_from_elsewhere_no_session_begins(stranger, key):
    answer = stranger.post("/login", data={"key": key}, headers={"host": "tidegate.example"})
    assert answer.status_code == 403
    assert "https" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("address", "host", "status"),
    [
        ("10.1.2.3", "localhost", 303),  # a container's published port
        ("10.1.2.3", "tidegate.example", 403),
        ("10.200.2.3", "localhost", 403),
    ],
)
def test_a_browser_behind_a_proxy_of_ours_may_be_on_its_machine(
    serve, database, key, address, host, status
):
    client = serve(database, key=None, access=Access(proxies=(ip_network("10.1.0.0/16"),)))
    # What uvicorn, on loopback, takes for where the request comes from.
    headers = {"host": host, "x-forwarded-for": address}
    answer = client.post("/login", data={"key": key}, headers=headers)
    assert answer.status_code == status


def test_neither_the_cookie_nor_its_key_is_stored(stranger, key, conn):
    log_in(stranger, key)
    secret = stranger.cookies["tidegate"]
    (row,) = conn.execute("SELECT s::text || k::text FROM page_session s, api_key k").fetchone()[:1]
    for hidden in (secret, key, read(key).secret, secret.encode().hex()):
        assert hidden not in row
    found = conn.execute("SELECT session_hash FROM page_session").fetchall()
    assert found == [(keys.hashed(secret),)]


def test_a_login_takes_a_new_cookie_and_ends_the_old_session(stranger, key):
    # Session fixation: a cookie that somebody put there is never the session's.
    planted = "x" * 43
    answer = stranger.post("/login", data={"key": key}, headers={"cookie": f"tidegate={planted}"})
    first = answer.headers["set-cookie"]
    assert planted not in first
    assert stranger.get("/v1/stats", headers={"cookie": f"tidegate={planted}"}).status_code == 401
    old = stranger.cookies["tidegate"]
    assert stranger.get("/v1/stats").status_code == 200
    log_in(stranger, key)
    assert stranger.cookies["tidegate"] != old
    assert stranger.get("/v1/stats").status_code == 200
    stranger.cookies.clear()
    assert stranger.get("/v1/stats", headers={"cookie": f"tidegate={old}"}).status_code == 401


def test_a_change_by_cookie_needs_the_sessions_token(stranger, key, conn):
    alert = f"/v1/alerts/{put_alert(conn, 1)}"
    conn.commit()
    log_in(stranger, key)
    right = token(stranger)
    for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 64}):
        answer = stranger.post(f"{alert}/comments", json={"text": "x"}, headers=headers)
        assert answer.status_code == 403
        assert "X-CSRF-Token" in answer.json()["detail"]
    answer = stranger.post(f"{alert}/comments", json={"text": "x"}, headers=right)
    assert answer.status_code == 201
    assert answer.json()["author"] == f"key:{read(key).prefix} (ann)"
    assert len(stranger.get(f"{alert}/comments").json()["data"]) == 1


def test_the_token_of_another_session_is_none(stranger, key):
    log_in(stranger, key)
    other = token(stranger)
    log_in(stranger, key)
    answer = stranger.request("DELETE", "/v1/session", json={}, headers=other)
    assert answer.status_code == 403


def test_the_token_does_not_tell_the_cookie(stranger, key):
    log_in(stranger, key)
    secret = stranger.cookies["tidegate"]
    assert cookies.token(secret) == token(stranger)["X-CSRF-Token"]
    assert secret not in stranger.get("/v1/session").text


@pytest.mark.parametrize(
    ("method", "site", "status"),
    [
        ("GET", "cross-site", 403),
        ("GET", "same-site", 200),
        ("GET", "same-origin", 200),
        ("GET", "none", 200),
        ("DELETE", "cross-site", 403),
        ("DELETE", "same-site", 403),
        ("DELETE", "same-origin", 200),
    ],
)
def test_what_a_page_of_another_site_asks_is_refused(stranger, key, method, site, status):
    log_in(stranger, key)
    headers = token(stranger) | {"Sec-Fetch-Site": site}
    given: dict[str, object] = {} if method == "GET" else {"json": {}}
    answer = stranger.request(method, "/v1/session", headers=headers, **given)
    assert answer.status_code == status


def test_another_site_cannot_log_somebody_in(stranger, key):
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = stranger.post("/login", data={"key": key}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_key_needs_no_token_and_goes_before_a_cookie(stranger, key):
    log_in(stranger, key)
    body = stranger.get("/v1/session", headers=bearer(ADMIN_KEY))
    assert body.status_code == 401  # no such key here: the cookie does not stand in for it
    answer = stranger.request("DELETE", "/v1/session", json={}, headers=bearer(key))
    assert answer.json() == {"ended": False}
    assert stranger.get("/v1/stats").status_code == 200


def test_logging_out_ends_the_session(stranger, key, conn):
    log_in(stranger, key)
    secret = stranger.cookies["tidegate"]
    answer = stranger.request("DELETE", "/v1/session", json={}, headers=token(stranger))
    assert answer.json() == {"ended": True}
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert stranger.get("/v1/stats").status_code == 401
    assert stranger.get("/v1/stats", headers={"cookie": f"tidegate={secret}"}).status_code == 401
    rows = conn.execute("SELECT action FROM audit ORDER BY audit_id").fetchall()
    assert rows == [("session.begin",), ("session.end",)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE page_session SET expires_at = now() - interval '1 second'",
        "UPDATE page_session SET used_at = now() - interval '61 minutes'",
        "UPDATE api_key SET expires_at = now() - interval '1 second'",
        "DELETE FROM api_key",
    ],
)
def test_a_session_ends_by_time_by_idleness_and_with_its_key(
    serve, database, conn, monkeypatch, change
):
    monkeypatch.setattr("api.access.credentials.Remembered", forgetful)
    api = serve(database, key=None)
    log_in(api, put_key(conn, Role.VIEWER))
    assert api.get("/v1/stats").status_code == 200
    conn.execute(change)
    conn.commit()
    answer = api.get("/v1/stats")
    assert answer.status_code == 401
    assert answer.json()["detail"] == "the session is over"


def forgetful():
    return remembered.Remembered(seconds=0.0)


def test_revoking_the_key_ends_its_sessions_within_ten_seconds(stranger, key, conn):
    log_in(stranger, key)
    assert stranger.get("/v1/stats").status_code == 200
    api_keys.revoke(conn, read(key).prefix, actor="tests")
    conn.commit()
    wait_until(lambda: stranger.get("/v1/stats").status_code == 401, 10)
    assert log_in(stranger, key).status_code == 401


@pytest.mark.parametrize(
    ("wanted", "location"),
    [
        ("/?status=open", "/?status=open"),
        ("/cases/7", "/cases/7"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/\r\nSet-Cookie: a=b", "/"),
        ('/"><script>', '/"><script>'),
        ("", "/"),
    ],
)
def test_the_way_back_is_a_path_of_this_site(stranger, key, wanted, location):
    page = stranger.get("/login", params={"next": wanted})
    assert "<script>" not in page.text
    assert "evil" not in page.text
    answer = log_in(stranger, key, next=wanted)
    assert httpx.URL(answer.headers["location"]) == httpx.URL(location)


@pytest.mark.parametrize("form", [{"key": "tg_x_y"}, {"key": "abc"}, {"key": "tg_" + "é" * 9}])
def test_a_wrong_key_is_401_and_not_repeated(stranger, form):
    answer = stranger.post("/login", data=form)
    assert answer.status_code == 401
    assert "key" in answer.text
    assert form["key"] not in answer.text
    assert "set-cookie" not in answer.headers


def test_a_login_is_a_form_of_a_bounded_size(stranger):
    assert stranger.post("/login", json={"key": "x"}).status_code == 415
    assert stranger.post("/login", data={"key": "x" * 5000}).status_code == 413


def test_attempts_to_log_in_are_limited_even_with_the_right_key(stranger, key):
    for _ in range(5):
        assert log_in(stranger, "tg_wrong_" + "x" * 43).status_code == 401
    answer = log_in(stranger, key)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 10
    assert "set-cookie" not in answer.headers


def test_where_authentication_is_off_everybody_is_an_admin_on_this_machine(serve, database):
    api = serve(database, key=None, access=OPEN)
    assert api.get("/v1/session").json()["actor"] == "anonymous"
    assert api.get("/").status_code == 200
    assert api.get("/login").headers["location"] == "/"
    assert api.get("/v1/audit").status_code == 200
    # Another site's page, or its name on this machine's address.
    assert api.get("/v1/alerts", headers={"host": "evil.example"}).status_code == 403
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
        answer = api.post("/v1/promotions/rollback", json={}, headers=headers)
        assert answer.status_code == 403


def test_a_link_from_another_site_finds_the_session(stranger, key):
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = stranger.get("/?status=open&x=%22", headers=headers)  # the cookie is kept back
    assert answer.status_code == 200
    assert 'content="0; url=/?status=open&amp;x=%22"' in answer.text


@pytest.fixture
def visitor(browser, stranger):
    """A page in a browser that has no key."""
    with browser.new_context() as context:
        yield context.new_page()


def test_in_a_browser_somebody_signs_in_works_and_signs_out(visitor, stranger, key, conn):
    put_alert(conn, 1, card_token="card-7")
    conn.commit()
    visitor.goto(f"{stranger.base_url}?decision=review")
    expect(visitor).to_have_title("Sign in · Tidegate")
    visitor.get_by_label("Your key").fill("tg_wrong_key")
    visitor.get_by_role("button", name="Sign in").click()
    expect(visitor.get_by_role("alert")).to_contain_text("The key is not right")
    visitor.get_by_label("Your key").fill(key)
    visitor.get_by_role("button", name="Sign in").click()
    expect(visitor.locator("#rows")).to_contain_text("card-7")
    assert urlsplit(visitor.url).query == "decision=review"
    assert visitor.evaluate("document.cookie") == ""
    sent = visitor.evaluate("import('/static/signing.js').then((s) => s.changing())")
    assert len(sent["X-CSRF-Token"]) == 64
    visitor.get_by_role("button", name="Sign out").click()
    expect(visitor).to_have_title("Sign in · Tidegate")


def test_a_page_whose_session_has_ended_goes_to_the_login(visitor, stranger, key, conn):
    visitor.goto(str(stranger.base_url))
    visitor.get_by_label("Your key").fill(key)
    visitor.get_by_role("button", name="Sign in").click()
    expect(visitor.locator("#state-text")).to_have_text("Live")
    conn.execute("DELETE FROM page_session")
    conn.commit()
    expect(visitor).to_have_title("Sign in · Tidegate")

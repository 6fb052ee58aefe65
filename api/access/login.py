"""The login page: a key is pasted, and a session of the pages begins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qs

import psycopg
from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api import kinds, templating
from api.access import cookies
from api.access.callers import Caller, too_many
from api.access.credentials import Credentials
from api.access.limits import Buckets, address_of
from api.context import Context, Ctx
from api.problems import READ_ONLY, Failed
from tidegate import keys
from tidegate.environment import Network
from tidegate.store import sessions

router = APIRouter(include_in_schema=False)

LARGEST = 4_096  # bytes of the form
# Of an address: so many attempts at once, and one more in so many seconds.
ATTEMPTS, ATTEMPT_SECONDS = 5, 10.0
FORM = "application/x-www-form-urlencoded"

# A path of this site: browsers take `//host` and `/\host` for another one.
_HERE = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")


class Login:
    """What the login page needs, kept with the application."""

    def __init__(self, who: Credentials, *, auth: bool, proxies: Sequence[Network] = ()) -> None:
        self.who = who
        self.auth = auth
        self.proxies = proxies
        self.attempts = Buckets(1 / ATTEMPT_SECONDS, ATTEMPTS)


@router.get("/login")
async def show_login(request: Request) -> Response:
    """The page."""
    login: Login = request.app.state.login
    wanted = _wanted(request.query_params.get("next", "/"))
    return _page(wanted) if login.auth else RedirectResponse("/", 303)


@router.post("/login")
async def log_in(request: Request, context: Ctx) -> Response:
    """Begins a session with the key of the form, and goes on to where somebody wanted to go."""
    login: Login = request.app.state.login
    wanted = "/"
    try:
        if not login.auth:
            return RedirectResponse("/", 303)
        wait = login.attempts.take(address_of(request.scope))
        if wait:
            raise too_many(wait)
        cookies.check_site("POST", request.headers)
        if not cookies.possible(request.scope, request.headers, login.proxies):
            detail = "sign in by https: a key must not cross a network as plain text"
            raise Failed(kinds.FORBIDDEN, detail)
        form = await _form(request)
        wanted = _wanted(form.get("next", "/"))
        key = form.get("key", "").strip()
        if not key.startswith("tg_"):
            raise Failed(kinds.UNAUTHENTICATED, "a key begins with tg_")
        caller = await login.who.bearer(request.scope, key)
        old = cookies.read(request.scope, request.headers)
        secret = await to_thread.run_sync(_begin, context, caller, old)
    except Failed as ex:
        return _page(wanted, ex)
    except (psycopg.OperationalError, psycopg.InterfaceError):
        return _page(wanted, Failed(kinds.UNAVAILABLE, "the database does not answer"))
    except psycopg.errors.InsufficientPrivilege:
        return _page(wanted, Failed(kinds.READ_ONLY, READ_ONLY))
    if old is not None:
        login.who.forget(old)
    answer = RedirectResponse(wanted, 303)
    answer.headers["Set-Cookie"] = cookies.made(request.scope, secret)
    return answer


def _begin(context: Context, caller: Caller, old: str | None) -> str:
    """A new session, whatever cookie came with the request; that one's session ends."""
    assert caller.key_id is not None
    secret = keys.random_text()
    with context.writing() as conn:
        if old is not None:
            sessions.end(conn, keys.hashed(old), actor=caller.actor)
        sessions.begin(conn, keys.hashed(secret), caller.key_id, actor=caller.actor)
    return secret


async def _form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise Failed(kinds.MEDIA_TYPE, f"the body must be {FORM}")
    content = await request.body()
    if len(content) > LARGEST:
        raise Failed(kinds.TOO_LARGE, f"at most {LARGEST:,} bytes are taken")
    try:
        fields = parse_qs(content.decode("ascii"), max_num_fields=10)
    except ValueError as ex:
        raise Failed(kinds.INVALID, "the form cannot be read") from ex
    return {name: values[0] for name, values in fields.items()}


def _wanted(path: str) -> str:
    return path if _HERE.fullmatch(path) else "/"


def _page(wanted: str, refused: Failed | None = None) -> HTMLResponse:
    # What came with the form is not repeated but for the path, and that is checked.
    message = "" if refused is None else refused.detail[0].upper() + refused.detail[1:] + "."
    content = templating.render(
        "login.html", title="Sign in", sheets=("login",), next=wanted, message=message
    )
    if refused is None:
        return HTMLResponse(content)
    return HTMLResponse(content, refused.kind.status, refused.headers)

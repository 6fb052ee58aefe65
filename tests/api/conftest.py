"""The API on a real server, over a real database."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect, sync_playwright
from psycopg import sql

import migrations
from api import create_app
from api.heads import TimedHeads
from api.server import Server
from tests.api.keys import ADMIN_KEY, put_admin_key
from tests.remade import put_made, put_versions
from tidegate.store.release import Release

Serve = Callable[..., httpx.Client]


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of a server that runs the application on a port of its own."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        lifespan="on",
        ws="none",
        http=TimedHeads,
        log_config=None,
        access_log=False,
    )
    server = Server(app, config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < until, "the server took too long"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive(), "the server did not stop"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves an API made with the given arguments until the test's end; gives a client of it, who
    has an admin's key (`key`: another, or None; it is put into the database only if left out)."""
    with ExitStack() as stack:

        def start(database_url: str, **options: Any) -> httpx.Client:
            options.setdefault("release", Release(migrations.head(), migrations.known()))
            # A machine that tests keep busy stands still for seconds at times.
            options.setdefault("pool_timeout", 20.0)
            key = options.pop("key", ADMIN_KEY)
            if key == ADMIN_KEY and "access" not in options:
                # One that is not there yet, or has no tables, has no keys either.
                with suppress(psycopg.OperationalError, psycopg.errors.UndefinedTable):
                    put_admin_key(database_url)
            app = options.pop("app", None) or create_app(database_url, **options)
            address = stack.enter_context(served(app))
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            return stack.enter_context(httpx.Client(base_url=address, headers=headers, timeout=30))

        yield start


@pytest.fixture
def client(database: str, serve: Serve) -> httpx.Client:
    """A client of an API over the test's database."""
    return serve(database, feature_names=("amount", "card_count_1d", "terminal_risk"))


@pytest.fixture
def remade(conn: psycopg.Connection[Any]) -> Callable[..., tuple[int, str]]:
    """Stores decisions that can be made again, as `tests.remade.put_made`."""
    return partial(put_made, conn, put_versions(conn))


@pytest.fixture
def reader(conn: psycopg.Connection[Any]) -> Iterator[str]:
    """The name of a role of the database that may read everything and write nothing."""
    name = f"reader_{uuid4().hex}"
    role = sql.Identifier(name)
    conn.execute(sql.SQL("CREATE ROLE {}").format(role))
    conn.execute(sql.SQL("GRANT pg_read_all_data TO {}").format(role))
    conn.commit()
    yield name
    conn.execute(sql.SQL("DROP OWNED BY {}").format(role))
    conn.execute(sql.SQL("DROP ROLE {}").format(role))
    conn.commit()


CHROMIUM = "/usr/bin/chromium"
# Milliseconds: where one try failed, a page asks again after four seconds.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real browser."""
    if not Path(CHROMIUM).exists():
        lacking = f"no {CHROMIUM}: apt-get install chromium"
        if os.environ.get("TIDEGATE_REQUIRE") == "all":
            pytest.fail(lacking)
        pytest.skip(lacking)
    with sync_playwright() as playwright:
        # Its sandbox needs rights that a container's root has not.
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page, whose requests have an admin's key; whatever it writes to the console as an
    error is in `page.errors`."""
    with browser.new_context(
        viewport={"width": 1440, "height": 900},
        locale="en-US",
        extra_http_headers={"Authorization": f"Bearer {ADMIN_KEY}"},
    ) as context:
        opened = context.new_page()
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        opened.errors = errors  # type: ignore[attr-defined]
        yield opened

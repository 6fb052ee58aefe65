"""A real database for every test that asks for one, built by the real migrations.

`postgres` is one embedded server per test process; with TIDEGATE_TEST_TIMESCALE_URL set, the
server of that URL (its user must be allowed to create databases) is used instead. `timescale` is
an empty database with TimescaleDB at hand, for the few tests of its own SQL. Kafka's fixtures are
in tests/kafka/fixtures.py.

A test whose part is not installed skips and says what to install; with TIDEGATE_REQUIRE=all, as in
CI, it fails.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote, urlencode
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

import migrations
from tests.timescale import pglite
from tidegate import embedded
from tidegate.store import connection

pytest_plugins = ["tests.kafka.fixtures"]

TIMESCALE_URL = "TIDEGATE_TEST_TIMESCALE_URL"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a server in which databases may be made, for this test process alone."""
    if given := os.environ.get(TIMESCALE_URL):
        yield given
        return
    # Not pytest's own temporary directory: it is closed to the OS user that the server runs as
    # when the tests run as root.
    directory = Path(tempfile.mkdtemp(prefix="tidegate-test-"))
    try:
        with embedded.start(directory) as server:
            yield server.url
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def _template(postgres: str) -> Iterator[str]:
    """Name of a database that the migrations built, to be copied."""
    name = f"template_{uuid4().hex}"
    _create(postgres, name, None)
    migrations.upgrade(at(postgres, name))
    with psycopg.connect(at(postgres, name), autocommit=True) as conn:
        found = conn.execute("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'")
        if found.fetchone():  # its scheduler sits in the database, and a copy needs it empty
            conn.execute("SELECT _timescaledb_functions.stop_background_workers()")
    yield name
    _drop(postgres, name)


@pytest.fixture
def database(postgres: str, _template: str) -> Iterator[str]:
    """URL of a fresh database at the newest schema, dropped after the test."""
    name = f"test_{uuid4().hex}"
    _create(postgres, name, _template)
    yield at(postgres, name)
    _drop(postgres, name)


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """URL of a fresh database without any table, dropped after the test."""
    name = f"test_{uuid4().hex}"
    _create(postgres, name, None)
    yield at(postgres, name)
    _drop(postgres, name)


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    """A connection to a fresh database; what the test does not commit is rolled back."""
    with connection.connect(database, application_name="tidegate-test") as opened:
        yield opened
        opened.rollback()


@pytest.fixture(scope="session")
def _pglite() -> Iterator[str]:
    """URL of a PGlite with TimescaleDB, for this test process alone."""
    if not pglite.installed():
        missing(pglite.NEEDS)
    with pglite.server() as url:
        yield url


@pytest.fixture
def timescale(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database in which TimescaleDB can be used: the given server's, else PGlite's.

    PGlite has one session for all connections, wants `prepare_threshold=None` and dies of COPY
    FROM.
    """
    if os.environ.get(TIMESCALE_URL):
        yield request.getfixturevalue("empty_database")
        return
    url: str = request.getfixturevalue("_pglite")
    yield url
    # The extension stays: PGlite's one session cannot load it a second time.
    migrations.downgrade(url)


def missing(what: str) -> NoReturn:
    """Skips the test, or fails it where everything is required."""
    if os.environ.get("TIDEGATE_REQUIRE") == "all":
        pytest.fail(what)
    pytest.skip(what)


def at(url: str, name: str) -> str:
    """The URL with another database. A URL stays a URL: SQLAlchemy and users read it, too."""
    parts = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    return _as_url(parts | {"dbname": name})


def _as_url(parts: dict[str, str]) -> str:
    user = quote(parts.pop("user", "postgres"), safe="")
    if password := parts.pop("password", ""):
        user = f"{user}:{quote(password, safe='')}"
    name = quote(parts.pop("dbname"), safe="")
    return f"postgresql://{user}@/{name}?{urlencode(parts)}"


def _create(server: str, name: str, template: str | None) -> None:
    # template0 where none is given: the embedded template1 is as empty, but a given server's may
    # have TimescaleDB in it.
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        sql.Identifier(name), sql.Identifier(template or "template0")
    )
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(statement)


def _drop(server: str, name: str) -> None:
    statement = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(statement)

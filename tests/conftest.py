"""A real database for every test that asks for one, built by the real migrations.

`postgres` is one embedded server per test process; with TIDEGATE_TEST_TIMESCALE_URL set, the
server of that URL (its user must be allowed to create databases) is used instead.
`timescale_database` is one with hypertables on a true server, of the Apache edition unless another
is given; `timescale` is an empty one with the community edition at hand, in PGlite, for the tests
of its own SQL. Kafka's fixtures are in tests/kafka/fixtures.py, Helm's in tests/helm/fixtures.py.

A test whose part is not installed skips and says what to install; with TIDEGATE_REQUIRE=all, as in
CI, it fails.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

import migrations
from tests import databases
from tests.timescale import debian, pglite
from tidegate import embedded
from tidegate.store import connection
from tidegate.store.connection import Conn

pytest_plugins = ["tests.helm.fixtures", "tests.kafka.fixtures"]

TIMESCALE_URL = "TIDEGATE_TEST_TIMESCALE_URL"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a server in which databases may be made, for this test process alone."""
    if given := os.environ.get(TIMESCALE_URL):
        yield given
        return
    # Not pytest's own temporary directory: it is closed to the OS user that the server runs as
    # when the tests run as root.
    directory = Path(tempfile.mkdtemp(prefix="tidegate-test-", dir=databases.in_memory()))
    try:
        with embedded.start(directory) as server:
            databases.hurry(server.url)
            yield server.url
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def _template(postgres: str) -> Iterator[str]:
    with databases.template(postgres) as name:
        yield name


@pytest.fixture
def database(postgres: str, _template: str) -> Iterator[str]:
    """URL of a fresh database at the newest schema, dropped after the test."""
    with databases.fresh(postgres, _template) as url:
        yield url


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """URL of a fresh database without any table, dropped after the test."""
    with databases.fresh(postgres, None) as url:
        yield url


@pytest.fixture(scope="session")
def timescale_server() -> Iterator[str]:
    """URL of a true server with TimescaleDB: the given one, else Debian's Apache edition."""
    if given := os.environ.get(TIMESCALE_URL):
        yield given
        return
    if not debian.installed():
        missing(debian.NEEDS)
    with debian.server() as url:
        yield url


@pytest.fixture(scope="session")
def _timescale_template(timescale_server: str) -> Iterator[str]:
    with databases.template(timescale_server) as name:
        yield name


@pytest.fixture
def timescale_database(timescale_server: str, _timescale_template: str) -> Iterator[str]:
    """URL of a fresh database of that server at the newest schema, dropped after the test."""
    with databases.fresh(timescale_server, _timescale_template) as url:
        yield url


@pytest.fixture(params=["PostgreSQL", "TimescaleDB"])
def either_database(request: pytest.FixtureRequest, postgres: str, _template: str) -> Iterator[str]:
    """URL of a fresh database at the newest schema: for tests that are to run on both servers."""
    if request.param == "TimescaleDB":
        yield request.getfixturevalue("timescale_database")
        return
    with databases.fresh(postgres, _template) as url:
        yield url


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    """A connection to a fresh database; what the test does not commit is rolled back."""
    with connection.connect(database, application_name="tidegate-test") as opened:
        yield opened
        opened.rollback()


@pytest.fixture
def session(database: str) -> Iterator[Callable[[], Conn]]:
    """Makes connections of their own to the fresh database, for tests of several at a time."""
    with ExitStack() as opened:

        def make() -> Conn:
            made = connection.connect(database, application_name="tidegate-test")
            opened.callback(made.close)
            return made

        yield make


@pytest.fixture(scope="session")
def _pglite() -> Iterator[str]:
    """URL of a PGlite with TimescaleDB, for this test process alone."""
    if not pglite.installed():
        missing(pglite.NEEDS)
    with pglite.server() as url:
        yield url


@pytest.fixture(scope="session")
def _community() -> bool:
    """Whether a server is given that has the community edition."""
    if not (given := os.environ.get(TIMESCALE_URL)):
        return False
    with databases.fresh(given, None) as url, psycopg.connect(url) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        (edition,) = conn.execute("SHOW timescaledb.license").fetchone() or ("",)
    return bool(edition == "timescale")


@pytest.fixture
def timescale(request: pytest.FixtureRequest, _community: bool) -> Iterator[str]:
    """URL of an empty database in which the community edition can be used: of the given server if
    it has it, else PGlite's.

    PGlite has one session for all connections, wants `prepare_threshold=None` and dies of COPY
    FROM.
    """
    if _community:
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

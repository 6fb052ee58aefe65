"""The database schema's versions, as plain SQL, and the way up to the newest one.

Run by `tidegate migrate` and by the tests. There is no alembic.ini and no `alembic` command to
remember: the three functions below are the whole interface (`downgrade` serves the tests and the
operator who must go back).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

# Two starters must not migrate at once: both take this lock first. The number is arbitrary, but
# it must never change, or an old and a new release would no longer see each other.
LOCK = 7_421_907_310_558_201


def upgrade(url: str, revision: str = "head") -> None:
    """Brings the database at `url` to the revision; does nothing where it is there already.

    Waits while another process migrates. Each version runs in a transaction of its own. Raises
    `psycopg.Error` or `sqlalchemy.exc.DBAPIError` when the database cannot be reached or refuses.
    """
    with _locked(url) as connection:
        command.upgrade(_config(connection), revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Takes the database back to the revision. What only newer versions hold is lost."""
    with _locked(url) as connection:
        command.downgrade(_config(connection), revision)


def current(url: str) -> str | None:
    """The revision that the database is at; None where no migration has run."""
    with _connected(url) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The newest revision that this release knows."""
    newest = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert newest is not None
    return newest


def known() -> frozenset[str]:
    """All revisions that this release knows."""
    script = ScriptDirectory.from_config(_config(None))
    return frozenset(revision.revision for revision in script.walk_revisions())


def _config(connection: Connection | None) -> Config:
    config = Config(attributes={"connection": connection})
    # A percent sign in the path would be read as interpolation.
    folder = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    # psycopg opens the connection itself, so that every URL it understands is understood here.
    # Nothing is prepared: poolers that hand a session from one client to the next lose statements.
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: _opened(url),
        poolclass=NullPool,
        use_native_hstore=False,
    )
    with engine.connect() as connection:
        yield connection


def _opened(url: str) -> psycopg.Connection[tuple[object, ...]]:
    conn = psycopg.connect(url, application_name="tidegate-migrate", prepare_threshold=None)
    encoding = conn.info.parameter_status("server_encoding")
    if encoding == "UTF8":
        return conn
    # Others cannot hold every text, or, as SQL_ASCII, know none.
    name = conn.info.dbname
    conn.close()
    raise psycopg.OperationalError(
        f"the database {name} has the encoding {encoding}, UTF8 is needed: make it with createdb "
        "--encoding UTF8 --template template0"
    )


@contextmanager
def _locked(url: str) -> Iterator[Connection]:
    with _connected(url) as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        connection.commit()
        try:
            yield connection
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
            connection.commit()

"""What several tests of the dataflow share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tests.databases import at


@pytest.fixture
def recovery(tmp_path: Path) -> Path:
    """Where a recovery store may be made."""
    return tmp_path / "recovery"


@pytest.fixture
def signals() -> Iterator[None]:
    """For tests that run a flow in this process: it takes SIGTERM and SIGINT over."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def new_database(postgres: str, _template: str) -> Callable[[], str]:
    """Makes databases at the newest schema that stay as long as the server does."""

    def make() -> str:
        name = f"test_{uuid4().hex}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(_template)
        )
        with psycopg.connect(postgres, autocommit=True) as conn:
            conn.execute(statement)
        return at(postgres, name)

    return make

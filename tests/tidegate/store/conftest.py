"""Every kind of database, and rows to write, for the tests of the store.

Each test that asks for `database` or `conn` runs on PostgreSQL and on a server with TimescaleDB
(of the Apache edition unless another is given); one whose module makes `conn` of `everywhere` runs
on the community edition too, which here is PGlite and cannot COPY.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import psycopg
import pytest

import migrations
from tests import databases
from tidegate.schema import SECOND, Batch, Decision, Decisions, texts
from tidegate.store import connection

POSTGRESQL, TIMESCALE, COMMUNITY = "PostgreSQL", "TimescaleDB", "TimescaleDB community"

MakeDecisions = Callable[..., Decisions]

START = 1_714_564_800 * SECOND  # 2024-05-01T12:00:00Z


@pytest.fixture
def database(either_database: str) -> str:
    """URL of a fresh database at the newest schema, dropped after the test."""
    return either_database


@pytest.fixture(params=[POSTGRESQL, TIMESCALE, COMMUNITY])
def everywhere(
    request: pytest.FixtureRequest, postgres: str, _template: str
) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a fresh database; what the test does not commit is rolled back."""
    with ExitStack() as stack:
        if request.param == COMMUNITY:
            url = request.getfixturevalue("timescale")
            migrations.upgrade(url)
        elif request.param == TIMESCALE:
            url = request.getfixturevalue("timescale_database")
        else:
            url = stack.enter_context(databases.fresh(postgres, _template))
        opened = stack.enter_context(connection.connect(url, application_name="tidegate-test"))
        if request.param == COMMUNITY:
            opened.prepare_threshold = None
        yield opened
        opened.rollback()


@pytest.fixture
def decided() -> MakeDecisions:
    """Makes decisions of the given transaction ids, one second apart, all approved unless told."""

    def make(
        ids: Sequence[str],
        *,
        decisions: Sequence[Decision] | None = None,
        reasons: Sequence[list[dict[str, Any]]] | None = None,
        start: int = START,
        width: int = 3,
        model_version: str = "m1",
        **extras: Sequence[Any],
    ) -> Decisions:
        rows = len(ids)
        at = start + SECOND * np.arange(rows, dtype=np.int64)
        chosen = [Decision.APPROVE] * rows if decisions is None else list(decisions)
        batch = Batch(
            transaction_id=texts(ids),
            event_time=at,
            amount_minor=np.arange(rows, dtype=np.int64) + 1_000,
            currency=texts(["EUR"] * rows),
            card_token=texts([f"card-{row % 3}" for row in range(rows)]),
            terminal_id=texts([f"terminal-{row % 2}" for row in range(rows)]),
            content=np.arange(rows, dtype=np.uint64),
            extras={name: texts(column) for name, column in extras.items()},
        )
        return Decisions(
            batch=batch,
            features=np.linspace(-3, 7, rows * width, dtype=np.float32).reshape(rows, width),
            log_odds=np.arange(rows, dtype=np.int64) - 2,
            score=np.linspace(0, 1, rows),
            decision=np.array(chosen, dtype=np.int8),
            propensity=np.linspace(0, 1, rows, dtype=np.float32),
            reasons=texts([[] for _ in ids] if reasons is None else reasons),
            scored_at=start + 60 * SECOND + 7,
            stream_time=start - SECOND,
            model_version=model_version,
            policy_version="p1",
        )

    return make

"""Connections speak UTC, and microseconds cross them exactly."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.schema import to_datetime, to_micros
from tidegate.store import connection
from tidegate.store.connection import Conn, Micros, MicrosLoader


def test_a_session_is_in_utc_and_names_itself(database: str) -> None:
    url = f"{database}&options=-c%20statement_timeout%3D1234"
    with connection.connect(url, application_name="tidegate-x") as conn:
        assert conn.execute("SHOW timezone").fetchone() == ("UTC",)
        assert conn.execute("SHOW application_name").fetchone() == ("tidegate-x",)
        assert conn.execute("SHOW statement_timeout").fetchone() == ("1234ms",)
        assert not conn.autocommit


def test_a_pool_replaces_connections_that_died(database: str) -> None:
    with connection.pool(database, application_name="tidegate-x", max_size=1) as pool:
        with pool.connection() as conn:
            (pid,) = conn.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        with psycopg.connect(database, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        with pool.connection() as conn:
            assert conn.execute("SHOW timezone").fetchone() == ("UTC",)


@given(
    at=st.datetimes(
        datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999), timezones=st.just(UTC)
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_microseconds_cross_exactly(conn: Conn, at: datetime) -> None:
    micros = to_micros(at)
    with conn.cursor(binary=True) as cur:
        cur.adapters.register_loader("timestamptz", MicrosLoader)
        row = cur.execute("SELECT %s, %s::timestamptz = %s", (Micros(micros), Micros(micros), at))
        assert row.fetchone() == (micros, True)
    assert to_datetime(micros) == at


@pytest.mark.parametrize(("bound", "means"), [(-(2**63), "-infinity"), (2**63 - 1, "infinity")])
def test_a_bound_beyond_all_time_is_infinite(conn: Conn, bound: int, means: str) -> None:
    row = conn.execute("SELECT %s = %s::timestamptz", (Micros(bound), means)).fetchone()
    assert row == (True,)

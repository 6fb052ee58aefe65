"""Model versions come back to the byte; what was measured is kept once."""

from __future__ import annotations

import os

from tidegate.schema import DAY, Metric, ModelVersion, to_datetime
from tidegate.store import models
from tidegate.store.connection import Conn

VERSION = ModelVersion(
    version="v1",
    name="champion",
    stream_time=19_000 * DAY + 1,
    content=bytes(60_000) + os.urandom(10_000),
    examples=12,
    frauds=3,
)


def test_a_version_comes_back_to_the_byte(conn: Conn) -> None:
    models.write_version(conn, VERSION)
    assert models.read_version(conn, "v1") == VERSION
    stored = conn.execute("SELECT length(content) FROM model_version").fetchone()
    assert stored is not None
    assert stored[0] < 15_000


def test_an_unknown_version_is_none(conn: Conn) -> None:
    assert models.read_version(conn, "nobody") is None


def test_a_version_written_again_stays_as_it_is(conn: Conn) -> None:
    models.write_version(conn, VERSION)
    models.write_version(conn, ModelVersion("v1", "other", 0, b"", 0, 0))
    assert models.read_version(conn, "v1") == VERSION


def test_a_metric_is_stored_once_for_each_moment(conn: Conn) -> None:
    first = Metric("champion", "average_precision", DAY, 0.71, 100)
    later = Metric("champion", "average_precision", 2 * DAY, 0.72, 200)
    models.write_metrics(conn, [first])
    models.write_metrics(conn, [Metric("champion", "average_precision", DAY, 0.1, 1), later])
    models.write_metrics(conn, [])
    rows = conn.execute("SELECT name, metric, at, value, examples FROM model_metric ORDER BY at")
    assert rows.fetchall() == [
        ("champion", "average_precision", to_datetime(DAY), 0.71, 100),
        ("champion", "average_precision", to_datetime(2 * DAY), 0.72, 200),
    ]

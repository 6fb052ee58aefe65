"""A disk that is really full is waited out, and nothing of what waited is lost or doubled."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from psycopg import sql

from dataflows.messages import Outcome
from dataflows.writer import DatabaseWriter
from tests.conftest import missing
from tests.dataflows.streams import START, decided, payments, query
from tests.dataflows.test_database import generation
from tests.waiting import wait_until
from tidegate.schema import SECOND

NEEDS = "a small disk of its own is mounted, which needs root"
STEPS, ROWS = 40, 500
COUNTS = "SELECT count(*), count(DISTINCT transaction_id), min(log_odds), max(log_odds) FROM score"


@pytest.fixture
def small_disk(postgres: str, database: str) -> Iterator[Path]:
    """A disk of 4 MB that the database's decisions and alerts are on."""
    if os.geteuid() != 0:
        missing(NEEDS)
    with psycopg.connect(postgres, autocommit=True) as conn:
        (data,) = conn.execute("SHOW data_directory").fetchone() or ("",)
    owner = Path(data).stat()
    with TemporaryDirectory(prefix="tidegate-disk-", dir="/tmp") as directory:
        mounted = Path(directory)
        options = f"size=4m,mode=700,uid={owner.st_uid},gid={owner.st_gid}"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tidegate-test", directory]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("this container may not mount")
        name = sql.Identifier(f"small_{os.getpid()}")
        try:
            with psycopg.connect(database, autocommit=True) as conn:
                place = sql.Literal(directory)
                conn.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(name, place))
                for table in ("score", "alert"):
                    conn.execute(
                        sql.SQL("ALTER TABLE {} SET TABLESPACE {}").format(
                            sql.Identifier(table), name
                        )
                    )
            yield mounted
            with psycopg.connect(database, autocommit=True) as conn:
                for table in ("alert", "score"):
                    conn.execute(sql.SQL("DROP TABLE {} CASCADE").format(sql.Identifier(table)))
                conn.execute(sql.SQL("DROP TABLESPACE {}").format(name))
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)


def step(number: int) -> Outcome:
    names = [f"t{number}-{row}" for row in range(ROWS)]
    times = [START + number * SECOND + row for row in range(ROWS)]
    batch = payments(names, times)
    return Outcome(number, START / SECOND, decided(batch, log_odds=7, declined=5))


def test_a_disk_that_is_full_is_waited_out(
    small_disk: Path, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        closing(DatabaseWriter(database, generation(database))) as writer,
    ):
        writer.begin("p0", None)
        for number in range(STEPS):
            writer.write("p0", [step(number)])
        wait_until(lambda: caplog.text.count("No space left on device") >= 2)
        assert writer.away() is not None
        subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)
        assert writer.settle("p0") == STEPS - 1
        assert writer.away() is None
    assert query(database, COUNTS) == [(STEPS * ROWS, STEPS * ROWS, 7, 7)]
    assert query(database, "SELECT count(*) FROM alert") == [(STEPS * 5,)]

"""A machine that loses its power says nothing, not even to the database, which still has its
sessions, its locks and its lease; another one takes over all the same."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

import migrations
from tests import databases
from tests.certificates import certificate
from tests.conftest import missing
from tests.dataflows.streams import query
from tests.faults.cluster import TIDEGATE, Cluster
from tests.faults.kafka_place import Record
from tests.faults.machines import Machine, machines, need_machines
from tests.kafka.broker import free_ports
from tests.timescale import debian
from tests.waiting import FOR_LOCKS, wait_until
from tidegate.settings import Topics
from tidegate.store import connection

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

GENERATION = "SELECT coalesce(max(generation), 0) FROM cluster"
# In a process of a machine: a transaction that holds a lock, and nothing more.
HOLDS = """
import sys, time
from tidegate.store import connection
conn = connection.connect(sys.argv[1], application_name="tidegate-test")
conn.execute("SELECT pg_advisory_xact_lock(7)")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def four() -> Iterator[list[Machine]]:
    need_machines()
    with machines(4) as made:
        yield made


@pytest.fixture(scope="module")
def server(four: list[Machine]) -> Iterator[tuple[str, str]]:
    """URLs of a server, by its socket and by TCP."""
    if not debian.installed():
        missing(debian.NEEDS)
    (port,), own = free_ports(1), certificate("database")
    tls = debian.Tls(port, own.pem, own.key, address=four[0].host)
    with debian.server(tls) as near:
        yield near, f"postgresql://postgres@{tls.address}:{port}/NAME?sslmode=require"


@pytest.fixture
def reached(server: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """URLs of a database: for this machine, and for the others, which reach it by TCP."""
    near, far = server
    with databases.fresh(near, None) as url:
        migrations.upgrade(url)
        yield url, far.replace("NAME", str(conninfo.conninfo_to_dict(url)["dbname"]))


def test_another_machine_takes_over_from_one_that_lost_its_power(
    four: list[Machine], reached: tuple[str, str], tmp_path: Path, record_property: Record
) -> None:
    near, url = reached
    first, second, *_ = four
    cluster = Cluster(url, None, Topics(), tmp_path)
    try:
        cluster.lead(first)
        wait_until(lambda: query(near, GENERATION) == [(1,)], 60, cluster.said)
        first.cut_off()
        cluster.kill_everything()  # whose goodbyes nobody hears
        began = time.monotonic()
        cluster.lead(second)
        while query(near, GENERATION) == [(1,)]:
            assert time.monotonic() - began < 90, cluster.said()
            if not cluster.running:  # refused: it is started again, as by whoever watches over it
                cluster.ended()
                cluster.lead(second)
            time.sleep(0.1)
        line = {"fault": "a machine loses its power", "times": 1, "lost": 0, "doubled": 0}
        took = {"changed": 0, "seconds": [round(time.monotonic() - began, 1)]}
        record_property("fault", json.dumps(line | took))
    finally:
        cluster.kill_everything()


def test_locks_of_a_machine_that_lost_its_power_are_gone_soon(
    four: list[Machine], reached: tuple[str, str]
) -> None:
    near, url = reached
    command = four[2].command(sys.executable, "-c", HOLDS, url)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        four[2].cut_off()
        holder.kill()
        with connection.connect(near, application_name="tidegate-test") as conn:
            conn.execute("SET lock_timeout = '60s'")
            began = time.monotonic()
            conn.execute("SELECT pg_advisory_xact_lock(7)")
        assert time.monotonic() - began > 1  # it was held when we asked


def test_a_migration_of_a_machine_that_lost_its_power_is_taken_over(
    four: list[Machine], server: tuple[str, str]
) -> None:
    near, far = server
    with databases.fresh(near, None) as url, psycopg.connect(url) as other:
        # Until we take it back, whoever migrates waits here, and has the lock of migrations.
        other.execute("CREATE TABLE alembic_version ()")
        name = str(conninfo.conninfo_to_dict(url)["dbname"])
        given = f"TIDEGATE_DATABASE_URL={far.replace('NAME', name)}"
        command = four[3].command("env", given, str(TIDEGATE), "migrate")
        with subprocess.Popen(command) as migrating:
            wait_until(lambda: query(url, FOR_LOCKS) == [(1,)])
            four[3].cut_off()
            migrating.kill()
            other.rollback()
            began = time.monotonic()
            migrations.upgrade(url)
        assert 1 < time.monotonic() - began < 60
        assert migrations.current(url) == migrations.head()

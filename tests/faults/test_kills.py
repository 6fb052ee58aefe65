"""Killed at any moment and started again, a run ends as if nothing had happened.

`tidegate run` is a real process, killed with SIGKILL at moments drawn from a seed, which a failing
test prints.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.dataflows.streams import frauds, late_labels, query, remembered, simulated, stored, write

ROWS, DAYS, MATURITY = 20_000, 3, 0.5
KILLS = 3
SEEDS = {1: 20_260_101, 2: 20_260_202}  # by workers
PATIENCE = 100.0  # seconds until a run must have ended

TIDEGATE = Path(sys.executable).with_name("tidegate")


@dataclass(frozen=True)
class World:
    """Files and what an undisturbed run made of them."""

    paths: tuple[Path, Path]
    stored: dict[str, list[Any]]
    remembered: Mapping[Any, Any]
    seconds: float


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    batch, told = simulated(ROWS, DAYS, seed=31)
    return write(
        tmp_path_factory.mktemp("world"), batch, late_labels(batch, frauds(told), MATURITY / 2)
    )


@dataclass
class Place:
    """A database and a data directory, and the runs that were started on them."""

    database: str
    data: Path
    paths: tuple[Path, Path]

    def start(self, workers: int) -> subprocess.Popen[str]:
        env = os.environ | {
            "TIDEGATE_DATABASE_URL": self.database,
            "TIDEGATE_DATA_DIR": str(self.data),
            "TIDEGATE_SNAPSHOT_SECONDS": "0.5",
            "TIDEGATE_MATURITY_DAYS": str(MATURITY),
        }
        payments, labels = map(str, self.paths)
        files = ["--transactions", payments, "--labels", labels]
        return subprocess.Popen(
            [str(TIDEGATE), "run", *files, "--workers", str(workers)],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, workers: int) -> str:
        """Runs to the end; gives what was said on standard error."""
        process = self.start(workers)
        try:
            _, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
        assert process.returncode == 0, said
        return said

    def decisions(self) -> dict[str, Any]:
        """Every stored row by its id, which must be there once."""
        rows = query(self.database, DECISIONS)
        found = {row[0]: row for row in rows}
        assert len(found) == len(rows)
        return found

    def wait_until_scored(self, rows: int, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + PATIENCE
        while query(self.database, "SELECT count(*) FROM score")[0][0] < rows:
            if process.poll() is not None:
                return  # it was faster than we looked
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def processes(self) -> set[int]:
        """Processes that were started for this data directory, by us or by those."""
        mark = f"TIDEGATE_DATA_DIR={self.data}".encode()
        found = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.add(int(entry.name))
                except OSError:  # gone, or somebody else's
                    continue
        return found - {os.getpid()}

    def assert_no_orphans(self) -> None:
        deadline = time.monotonic() + 10
        while self.processes():
            assert time.monotonic() < deadline, f"still there: {self.processes()}"
            time.sleep(0.05)


DECISIONS = """
SELECT transaction_id, event_time, log_odds, score, decision, features, reasons, model_version,
       policy_version, scored_at
FROM score
"""


@contextmanager
def cleared(place: Place) -> Iterator[Place]:
    """Ends what is left of a failed test's processes."""
    try:
        yield place
    finally:
        for process in place.processes():
            os.kill(process, signal.SIGKILL)


@pytest.fixture
def place(database: str, tmp_path: Path, paths: tuple[Path, Path]) -> Iterator[Place]:
    (tmp_path / "killed").mkdir()
    with cleared(Place(database, tmp_path / "killed", paths)) as ready:
        yield ready


@pytest.fixture(scope="module")
def world(
    paths: tuple[Path, Path],
    postgres: str,
    _template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    from uuid import uuid4

    from tests.conftest import _create, at

    name = f"test_{uuid4().hex}"  # it goes with the server
    _create(postgres, name, _template)
    data = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    with cleared(Place(at(postgres, name), data, paths)) as place:
        place.finish(1)
    seconds = time.monotonic() - began
    return World(paths, stored(place.database), states(data), seconds)


def states(data: Path) -> dict[Any, Any]:
    """The last snapshots but the sink's, whose partitions end where the last one found them."""
    found = remembered(data / "recovery")
    return {name: state for name, state in found.items() if not name[0].endswith(".store")}


def assert_as_undisturbed(place: Place, world: World) -> None:
    found = stored(place.database)
    assert len(found["score"]) == ROWS
    assert {row[0] for row in found["score"]} == {row[0] for row in world.stored["score"]}
    for table, rows in world.stored.items():
        assert found[table] == rows, f"{table} differs from an undisturbed run"
    profiles = states(place.data)
    assert set(profiles) == set(world.remembered)
    for name, state in world.remembered.items():
        assert profiles[name] == state, f"{name} differs from an undisturbed run"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_ends_as_if_nothing_had_happened(
    place: Place, world: World, workers: int
) -> None:
    print(f"seed {SEEDS[workers]}")
    rng = random.Random(SEEDS[workers])
    seen: dict[str, Any] = {}
    killed_in_the_middle = 0
    for kill in range(KILLS):
        process = place.start(workers)
        # Somewhere in this third of the stream, and then a moment more.
        place.wait_until_scored(round(ROWS * (kill + rng.random()) / KILLS * 0.9), process)
        time.sleep(rng.random() * 0.4)
        process.kill()
        process.communicate()
        killed_in_the_middle += process.returncode == -signal.SIGKILL
        place.assert_no_orphans()
        rows = place.decisions()
        assert seen.items() <= rows.items(), "a stored decision changed or is gone"
        seen = rows
    assert killed_in_the_middle >= 2
    assert seen
    place.finish(workers)
    final = place.decisions()
    assert seen.items() <= final.items(), "a stored decision changed or is gone"
    assert_as_undisturbed(place, world)
    place.assert_no_orphans()


def test_a_killed_worker_is_started_again_with_the_others_as_if_nothing_had_happened(
    place: Place, world: World
) -> None:
    process = place.start(2)
    killed: set[int] = set()
    seen: dict[str, Any] = {}
    for share in (0.25, 0.6):
        place.wait_until_scored(round(ROWS * share), process)
        workers = place.processes() - {process.pid}
        assert len(workers) == 2
        assert not workers & killed, "both workers should be new ones"
        killed |= workers
        os.kill(max(workers), signal.SIGKILL)
        rows = place.decisions()
        assert seen.items() <= rows.items()
        seen = rows
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert said.count("ended with SIGKILL: all workers start again in") == 2
    assert "the files have ended" in said
    assert seen.items() <= place.decisions().items()
    assert_as_undisturbed(place, world)
    place.assert_no_orphans()


def test_a_second_cluster_is_refused_and_the_first_finishes_undisturbed(
    place: Place, world: World
) -> None:
    first = place.start(2)
    place.wait_until_scored(ROWS // 4, first)
    with cleared(beside(place)) as other, halted(place):
        second = other.start(1)
        _, said = second.communicate(timeout=PATIENCE)
        assert second.returncode == 1, said
        last = said.strip().splitlines()[-1]
        assert last.startswith("tidegate: another cluster (generation 1, started 20")
        assert last.endswith(" is running on this database: stop it first")
        assert not (other.data / "recovery").exists()
    _, said = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0, said
    assert "start again" not in said
    assert_as_undisturbed(place, world)


def test_a_cluster_that_lost_its_lease_to_another_is_fenced(place: Place, world: World) -> None:
    first = place.start(2)
    place.wait_until_scored(ROWS // 4, first)
    with cleared(beside(place)) as other:
        with halted(place):  # so that it cannot take the lease again at once
            (holder,) = lease_sessions(place)
            second = other.start(1)
            deadline = time.monotonic() + PATIENCE
            while not (waiting := lease_sessions(place) - {holder}):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            query(place.database, "SELECT pg_terminate_backend(%s)", [holder])
            while set(query(place.database, LEASE_HOLDER)) != {(pid,) for pid in waiting}:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        _, said = first.communicate(timeout=PATIENCE)
        assert first.returncode == 1, said
        assert "has taken over" in said.strip().splitlines()[-1]
        place.assert_no_orphans()
        _, said = second.communicate(timeout=PATIENCE)
        assert second.returncode == 0, said
    assert stored(place.database)["score"] == world.stored["score"]


LEASE_HOLDER = """
SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND granted AND datname = current_database()
"""


@contextmanager
def halted(place: Place) -> Iterator[None]:
    """Its processes stand still meanwhile: there, and not done before we have looked."""
    processes = place.processes()
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def lease_sessions(place: Place) -> set[int]:
    sessions = """SELECT pid FROM pg_stat_activity
        WHERE application_name = 'tidegate-lease' AND datname = current_database()"""
    return {pid for (pid,) in query(place.database, sessions)}


def beside(place: Place) -> Place:
    """The same files and database with another data directory."""
    other = Place(place.database, place.data.parent / "other", place.paths)
    other.data.mkdir()
    return other

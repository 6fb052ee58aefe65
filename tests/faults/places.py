"""Runs as real processes on a database and a directory, and what an undisturbed one makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.dataflows.streams import query, remembered, stored

ROWS, DAYS, MATURITY = 20_000, 3, 0.5
PATIENCE = 100.0  # seconds until a run must have ended

TIDEGATE = Path(sys.executable).with_name("tidegate")


@dataclass(frozen=True)
class World:
    """Files and what an undisturbed run made of them."""

    paths: tuple[Path, Path]
    stored: dict[str, list[Any]]
    remembered: Mapping[Any, Any]
    seconds: float


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


def beside(place: Place) -> Place:
    """The same files and database with another data directory."""
    other = Place(place.database, place.data.parent / "other", place.paths)
    other.data.mkdir()
    return other

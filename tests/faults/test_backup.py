"""Backups of the recovery store and the database, restored together into a new place.

The tools are PostgreSQL's own and a copy of the directory, as docs/operations/storage.md says.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests import databases
from tests.dataflows.streams import query
from tests.faults.places import PATIENCE, ROWS, Place, World, assert_as_undisturbed, cleared
from tidegate import embedded

BIN = embedded.programs()

HAS_TIMESCALE = "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'"


@pytest.fixture(params=["PostgreSQL", "TimescaleDB"])
def server(request: pytest.FixtureRequest) -> str:
    """URL of a server."""
    name = "timescale_server" if request.param == "TimescaleDB" else "postgres"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
def database(server: str, postgres: str, request: pytest.FixtureRequest) -> str:
    name = "_template" if server == postgres else "_timescale_template"
    enter = request.getfixturevalue("entered")
    url: str = enter(databases.fresh(server, request.getfixturevalue(name)))
    return url


@pytest.fixture
def entered() -> Iterator[Callable[[AbstractContextManager[str]], str]]:
    with ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def new_place(
    server: str,
    place: Place,
    tmp_path: Path,
    entered: Callable[[AbstractContextManager[str]], str],
) -> Callable[[Path, Path], Place]:
    """Restores a dump and a store into an empty database and directory."""
    numbers = count()

    def make(file: Path, store: Path) -> Place:
        url = entered(databases.fresh(server, None))
        return restored(url, file, store, tmp_path / f"new{next(numbers)}", place)

    return make


def run_until(place: Place, share: float, workers: int) -> None:
    """Runs until this share of the payments is stored, and stops it well."""
    process = place.start(workers)
    place.wait_until_scored(round(ROWS * share), process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said


def dump(place: Place, file: Path) -> None:
    subprocess.run(
        [BIN / "pg_dump", "--format=custom", f"--file={file}", f"--dbname={place.database}"],
        check=True,
    )


def restored(url: str, file: Path, store: Path, data: Path, place: Place) -> Place:
    """A new place of the two backups."""
    ((timescale,),) = query(place.database, HAS_TIMESCALE)
    with psycopg.connect(url, autocommit=True) as conn:
        if timescale:
            conn.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
            conn.execute("SELECT timescaledb_pre_restore()")
    subprocess.run(
        [BIN / "pg_restore", "--exit-on-error", "--no-owner", f"--dbname={url}", file], check=True
    )
    if timescale:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("SELECT timescaledb_post_restore()")
    shutil.copytree(store, data / "recovery")
    return Place(url, data, place.paths)


def test_the_store_and_then_the_database_go_on_elsewhere_as_if_nothing_had_happened(
    place: Place, world: World, new_place: Callable[[Path, Path], Place], tmp_path: Path
) -> None:
    run_until(place, 0.4, 2)
    shutil.copytree(place.data / "recovery", tmp_path / "store")
    process = place.start(2)
    place.wait_until_scored(round(ROWS * 0.6), process)
    dump(place, tmp_path / "dump")  # while it runs
    process.kill()  # the old place is lost
    process.communicate()
    place.assert_no_orphans()
    with cleared(new_place(tmp_path / "dump", tmp_path / "store")) as new:
        before = new.decisions()
        assert len(before) >= ROWS * 0.6
        new.finish(1)
        assert before.items() <= new.decisions().items(), "a restored decision changed or is gone"
        assert_as_undisturbed(new, world)


def assert_refused(place: Place) -> None:
    before = place.decisions()
    process = place.start(1)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, said
    last = said.strip().splitlines()[-1]
    assert last.startswith("tidegate: the recovery store has seen ")
    assert "restore a newer backup of the database, or move" in last
    assert place.decisions() == before


def test_a_database_older_than_the_store_is_refused_and_each_way_back_goes_on(
    place: Place, world: World, new_place: Callable[[Path, Path], Place], tmp_path: Path
) -> None:
    run_until(place, 0.4, 1)
    dump(place, tmp_path / "old")
    shutil.copytree(place.data / "recovery", tmp_path / "old-store")
    run_until(place, 0.6, 1)
    shutil.copytree(place.data / "recovery", tmp_path / "store")
    dump(place, tmp_path / "newer")

    with cleared(new_place(tmp_path / "old", tmp_path / "store")) as new:
        assert_refused(new)
        before = new.decisions()
        # The last of the ways: without the store.
        (new.data / "recovery").rename(new.data / "recovery.old")
        new.finish(1)
        after = new.decisions()
        assert before.items() <= after.items(), "a restored decision changed or is gone"
        assert after.keys() == {row[0] for row in world.stored["score"]}

    for file, store in (("newer", "store"), ("old", "old-store")):  # the first, and the second
        with cleared(new_place(tmp_path / file, tmp_path / store)) as new:
            before = new.decisions()
            new.finish(1)
            assert before.items() <= new.decisions().items()
            assert_as_undisturbed(new, world)

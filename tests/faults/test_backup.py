"""Backups of the recovery store and the database, restored together into a new place.

The tools are PostgreSQL's own and a copy of the directory, as docs/operations/storage.md says.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

from tests.faults.places import PATIENCE, ROWS, Place, World, assert_as_undisturbed, cleared
from tidegate import embedded

BIN = embedded.programs()


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
    subprocess.run(
        [BIN / "pg_restore", "--exit-on-error", "--no-owner", f"--dbname={url}", file], check=True
    )
    shutil.copytree(store, data / "recovery")
    return Place(url, data, place.paths)


def test_the_store_and_then_the_database_go_on_elsewhere_as_if_nothing_had_happened(
    place: Place, world: World, empty_database: str, tmp_path: Path
) -> None:
    run_until(place, 0.4, 2)
    shutil.copytree(place.data / "recovery", tmp_path / "store")
    process = place.start(2)
    place.wait_until_scored(round(ROWS * 0.6), process)
    dump(place, tmp_path / "dump")  # while it runs
    process.kill()  # the old place is lost
    process.communicate()
    place.assert_no_orphans()
    with cleared(
        restored(empty_database, tmp_path / "dump", tmp_path / "store", tmp_path / "new", place)
    ) as new:
        before = new.decisions()
        assert len(before) >= ROWS * 0.6
        new.finish(1)
        assert before.items() <= new.decisions().items(), "a restored decision changed or is gone"
        assert_as_undisturbed(new, world)


def test_a_database_older_than_the_store_is_refused_and_goes_on_without_it(
    place: Place, world: World, empty_database: str, tmp_path: Path
) -> None:
    run_until(place, 0.4, 1)
    dump(place, tmp_path / "dump")
    run_until(place, 0.6, 1)
    shutil.copytree(place.data / "recovery", tmp_path / "store")
    with cleared(
        restored(empty_database, tmp_path / "dump", tmp_path / "store", tmp_path / "new", place)
    ) as new:
        before = new.decisions()
        process = new.start(1)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1, said
        last = said.strip().splitlines()[-1]
        assert last.startswith("tidegate: the recovery store has seen ")
        assert "restore a newer backup of the database, or move" in last
        assert new.decisions() == before
        (new.data / "recovery").rename(new.data / "recovery.old")  # the way that it names
        new.finish(1)
        after = new.decisions()
        assert before.items() <= after.items(), "a restored decision changed or is gone"
        assert after.keys() == {row[0] for row in world.stored["score"]}

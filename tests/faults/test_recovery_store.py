"""A recovery store that is damaged or has no room stops a run in one line, and changes nothing."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from dataflows.expected import expected
from dataflows.scoring import FLOW, FROM_FILES
from dataflows.verify import RecoveryDamaged, agree, states
from tests.conftest import missing
from tests.databases import at
from tests.dataflows.streams import query
from tests.faults.places import PATIENCE, ROWS, Place, World, assert_as_undisturbed, cleared

# 4 is the default of TIDEGATE_SHARDS.
# No challenger is switched on here.
STEPS = {f"{FLOW}.{step}" for step in FROM_FILES if step != "challenge"}
EXPECTED = {step: kept for step, kept in expected(4).items() if step in STEPS}
SEED = 20_260_303
RUNS = 6  # with a flipped byte, as whole processes
LOOKS = 100  # with a flipped byte, only at the store, with its logs and again without
PAGE = 4096  # of SQLite's files

FILES = ("part-*.sqlite3", "part-*.sqlite3-wal", "tidegate.json")


@pytest.fixture(scope="module")
def killed(
    paths: tuple[Path, Path],
    world: World,
    new_database: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Place:
    """What a run left that was killed after a snapshot or more, its logs beside its files."""
    with cleared(Place(new_database(), tmp_path_factory.mktemp("killed"), paths)) as place:
        process = place.start(1)
        place.wait_until_scored(ROWS // 2, process)
        process.kill()
        process.communicate()
    assert any(path.stat().st_size for path in (place.data / "recovery").glob("*-wal"))
    return place


@pytest.fixture
def copy(killed: Place, postgres: str, tmp_path: Path) -> Callable[[], Place]:
    """Makes copies of it, database and all."""

    def make() -> Place:
        name = f"test_{uuid4().hex}"
        with psycopg.connect(postgres, autocommit=True) as conn:
            template = psycopg.conninfo.conninfo_to_dict(killed.database)["dbname"]
            conn.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(str(template))
                )
            )
        data = tmp_path / name
        shutil.copytree(killed.data, data)
        return Place(at(postgres, name), data, killed.paths)

    return make


def flip(recovery: Path, rng: random.Random) -> str:
    """Changes one byte of one file: as likely in the head of a page, where its structure is, as
    anywhere. Says which."""
    files = sorted(path for pattern in FILES for path in recovery.glob(pattern))
    files = [path for path in files if path.stat().st_size]
    path = rng.choices(files, [path.stat().st_size + PAGE for path in files])[0]
    content = bytearray(path.read_bytes())
    place = rng.randrange(len(content))
    if rng.random() < 0.5:
        place = min(place // PAGE * PAGE + rng.randrange(120), len(content) - 1)
    change = 1 << rng.randrange(8) if rng.random() < 0.5 else rng.randrange(1, 256)
    content[place] ^= change
    path.write_bytes(content)
    return f"byte {place} of {path.name} ^ {change:#x}"


def fold(recovery: Path) -> None:
    """Writes the logs into their files, as SQLite itself does every thousand pages: what a kill
    leaves is anything between all in the log and all in the file."""
    for path in recovery.glob("part-*.sqlite3"):
        with closing(sqlite3.connect(path)) as store:
            busy, *_ = store.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            assert not busy


def test_a_killed_store_is_sound(copy: Callable[[], Place]) -> None:
    place = copy()
    found = states(place.data / "recovery")
    assert {step for step, _ in found} == {*EXPECTED}
    agree(place.data / "recovery", found, EXPECTED)


@pytest.mark.parametrize("folded", [False, True], ids=["in logs", "in files"])
def test_a_flipped_byte_is_found_or_the_states_are_whole(
    killed: Place, tmp_path: Path, folded: bool
) -> None:
    rng = random.Random(SEED)
    left = tmp_path / "left"
    shutil.copytree(killed.data / "recovery", left)
    if folded:
        fold(left)
    sound = states(left)
    assert sound == states(killed.data / "recovery")
    told = 0
    for look in range(LOOKS):
        store = tmp_path / str(look)
        shutil.copytree(left, store)
        what = flip(store, rng)
        try:
            found = states(store)
            agree(store, found, EXPECTED)
        except RecoveryDamaged as error:
            told += "\n" not in str(error)
        else:
            # A torn end of a log takes SQLite back to what was before; that must be one moment too.
            assert found == sound or "-wal" in what, what
        shutil.rmtree(store)
    print(f"{told} of {LOOKS} found")
    # Half of a file is free pages; in a log, what was torn off at its end is no damage either.
    assert told > LOOKS // 4 or not folded


@pytest.mark.timeout(600)
def test_a_run_with_a_flipped_byte_is_refused_or_ends_as_if_nothing_had_happened(
    copy: Callable[[], Place], world: World
) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED + 1)
    for run in range(RUNS):
        with cleared(copy()) as place:
            if run % 2:
                fold(place.data / "recovery")
            before = place.decisions()
            what = flip(place.data / "recovery", rng)
            process = place.start(1)
            try:
                _, said = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
            assert "Traceback" not in said, f"{what}: {said}"
            assert "panicked" not in said, f"{what}: {said}"
            if process.returncode == 0:
                assert_as_undisturbed(place, world)
            else:
                last = said.strip().splitlines()[-1]
                assert last.startswith("tidegate: "), (what, process.returncode, said)
                assert "recovery store" in last, what
                assert "move " in last or "name another" in last, what
                assert process.returncode == 1
                assert place.decisions() == before, "a refused start has changed something"
            place.assert_no_orphans()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for one snapshot and not for many."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=7m", "tmpfs", disk], capture_output=True
    )
    if mounted.returncode:
        missing("a full disk needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def grow(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=500m", disk], check=True)


def test_a_full_disk_ends_a_run_in_one_line_and_with_room_it_resumes(
    place: Place, world: World, disk: Path
) -> None:
    place = replace(place, data=disk)
    with cleared(place):
        for _ in range(2):  # the second cannot even start
            process = place.start(1)
            _, said = process.communicate(timeout=PATIENCE)
            assert process.returncode == 1
            last = said.strip().splitlines()[-1]
            assert last.startswith(f"tidegate: the disk under the recovery store in {disk}"), said
            assert " is full: make room" in last
        seen = place.decisions()
        assert 0 < len(seen) <= ROWS
        grow(disk)
        place.finish(1)
        assert seen.items() <= place.decisions().items()
        assert_as_undisturbed(place, world)


def test_workers_wait_for_room_on_a_full_disk_and_go_on(
    place: Place, world: World, disk: Path
) -> None:
    place = replace(place, data=disk)
    with cleared(place):
        process = place.start(2)
        deadline = time.monotonic() + PATIENCE
        while os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > 2**20:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(2.0)
        assert process.poll() is None
        seen = place.decisions()
        grow(disk)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said
        assert "is full: make room; nothing is lost: all workers start again in" in said
        assert seen.items() <= place.decisions().items()
        assert_as_undisturbed(place, world)
        assert query(place.database, "SELECT generation FROM cluster")[0][0] > 1

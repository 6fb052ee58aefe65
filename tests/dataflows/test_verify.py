"""A recovery store that is torn, mixed or altered is refused, with the file and what to do."""

from __future__ import annotations

import pickle
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dataflows.expected import expected
from dataflows.recovery import prepare, stored_steps
from dataflows.runner import run
from dataflows.scoring import FLOW, FROM_FILES
from dataflows.sealed import seal
from dataflows.verify import Kept, RecoveryDamaged, agree, forget_unfinished, states
from tests.dataflows.streams import START, a_run, labels, payments, write
from tidegate.schema import HOUR

pytestmark = pytest.mark.usefixtures("signals")

SHARDS = 2
EXPECTED = {f"{FLOW}.{step}": expected(SHARDS)[f"{FLOW}.{step}"] for step in FROM_FILES}
CHALLENGE = f"{FLOW}.challenge"
SETTINGS = {"shards": SHARDS, "maturity_days": 2.0}


@pytest.fixture(scope="module")
def made(
    new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A store of several files, as a run of several workers makes, and its database."""
    tmp = tmp_path_factory.mktemp("made")
    at = [START + hour * HOUR for hour in range(6)]
    paths = write(tmp, payments(list("abcdef"), at), labels([("a", at[2], True)]))
    database = new_database()
    given = a_run(database, tmp / "recovery", paths, shards=SHARDS, challengers=("quick",))
    prepare(tmp / "recovery", given.fixed, [])
    assert run(given)
    return tmp / "recovery", database


@pytest.fixture
def store(made: tuple[Path, str], recovery: Path) -> Path:
    return Path(shutil.copytree(made[0], recovery))


def verify(store: Path, kept: Mapping[str, Kept]) -> set[str]:
    """The steps whose states are there, and in order."""
    found = states(store)
    agree(store, found, kept)
    return {step for step, _ in found}


@contextmanager
def changing(store: Path, part: int = 0) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(store / f"part-{part}.sqlite3")) as opened, opened:
        yield opened


def in_any_part(store: Path, statement: str, *parameters: object) -> int:
    """Changes every file; gives how many rows it was."""
    changed = 0
    for part in range(4):
        with changing(store, part) as opened:
            changed += opened.execute(statement, parameters).rowcount
    return changed


def damage(store: Path) -> str:
    with pytest.raises(RecoveryDamaged) as caught:
        verify(store, EXPECTED)
    said = str(caught.value)
    assert said.startswith(f"the recovery store in {store} is damaged (")
    assert "restore a backup" in said
    assert "move it away" in said
    assert "\n" not in said
    return said


def test_a_sound_store_is_taken_as_often_as_it_is_looked_at(store: Path) -> None:
    for _ in range(2):
        assert verify(store, EXPECTED) == {*EXPECTED} == stored_steps(store)
        forget_unfinished(store)


def test_a_fresh_store_holds_nothing(recovery: Path) -> None:
    assert prepare(recovery, SETTINGS, [])
    assert verify(recovery, EXPECTED) == set()


@pytest.mark.parametrize("part", range(4))
def test_missing_empty_and_cut_files_are_refused(store: Path, part: int) -> None:
    path = store / f"part-{part}.sqlite3"
    whole = path.read_bytes()
    path.unlink()
    assert f"part-{part}.sqlite3: it is missing" in damage(store)
    for kept in (0, 50, 4096, len(whole) // 2, len(whole) - 4096):
        path.write_bytes(whole[:kept])
        assert f"part-{part}.sqlite3" in damage(store)
    path.write_bytes(whole)
    assert verify(store, EXPECTED)


def test_a_store_without_any_file_is_refused(store: Path) -> None:
    for path in store.glob("part-*"):
        path.unlink()
    assert "no part-" in damage(store)


def test_files_under_each_others_names_are_refused(store: Path) -> None:
    (store / "part-0.sqlite3").rename(store / "x")
    (store / "part-1.sqlite3").rename(store / "part-0.sqlite3")
    (store / "x").rename(store / "part-1.sqlite3")
    assert "part-0.sqlite3: it says that it is" in damage(store)


def test_an_altered_state_is_refused_by_its_name(store: Path) -> None:
    for step in EXPECTED:
        for part in range(4):
            with changing(store, part) as opened:
                found = opened.execute(
                    "SELECT rowid, state_key, ser_change FROM snaps WHERE step_id = ?", [step]
                ).fetchone()
            if found is None:
                continue
            row, key, change = found
            for place in (0, 1, len(change) // 2, len(change) - 1):
                torn = bytearray(change)
                torn[place] ^= 0x10
                with changing(store, part) as opened:
                    put = "UPDATE snaps SET ser_change = ? WHERE rowid = ?"
                    opened.execute(put, (bytes(torn), row))
                assert f"{step} {key}" in damage(store)
                with changing(store, part) as opened:
                    opened.execute(put, (change, row))
    assert verify(store, EXPECTED)


def test_a_state_that_would_run_code_is_refused_and_does_not(store: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    assert in_any_part(store, "UPDATE snaps SET ser_change = ?", pickle.dumps(Trap()))
    assert "it wants pathlib" in damage(store)
    assert not (tmp_path / "sprung").exists()


def test_a_state_that_is_no_bytes_is_refused(store: Path) -> None:
    assert in_any_part(store, "UPDATE snaps SET ser_change = ?", pickle.dumps({"a": 1}))
    assert "is dict, not bytes" in damage(store)


@pytest.mark.parametrize("step", sorted({*EXPECTED} - {CHALLENGE}))
def test_a_missing_state_is_refused(store: Path, step: str) -> None:
    assert in_any_part(store, "DELETE FROM snaps WHERE step_id = ?", step)
    assert f"the state of {step}" in damage(store)
    assert "is missing" in damage(store)


def test_a_challenger_may_be_missing_but_not_damaged(store: Path) -> None:
    assert in_any_part(
        store,
        f"UPDATE snaps SET ser_change = ? WHERE step_id = '{CHALLENGE}'",
        pickle.dumps(b"torn"),
    )
    assert "tidegate.challenge quick" in damage(store)
    assert in_any_part(store, "DELETE FROM snaps WHERE step_id = ?", CHALLENGE)
    assert verify(store, EXPECTED) == {*EXPECTED} - {CHALLENGE}


def test_a_state_of_an_unknown_key_is_refused(store: Path) -> None:
    with changing(store) as opened:
        opened.execute(
            "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) "
            "SELECT step_id, 'shard-x', snap_epoch, ser_change FROM snaps "
            f"WHERE step_id = '{FLOW}.terminals' LIMIT 1"
        )
    assert "shard-x, which is none of its keys" in damage(store)


def test_states_of_two_moments_are_refused(store: Path) -> None:
    earlier = pickle.dumps(seal("sink", 1, 2))
    where = f"WHERE step_id = '{FLOW}.store' AND state_key = 'facts'"
    assert in_any_part(store, f"UPDATE snaps SET ser_change = ? {where}", earlier) == 1
    assert "not of one moment" in damage(store)
    assert "tidegate.store facts expects step 3 next" in damage(store)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE fronts SET worker_frontier = 1",  # what came before is no longer kept
        "UPDATE exs SET worker_count = 2",  # the second has said nothing yet
        "DELETE FROM fronts",
        "DELETE FROM exs",
        "UPDATE exs SET ex_num = 9223372036854775807",
        "UPDATE exs SET worker_count = 4611686018427387904",
        "UPDATE fronts SET worker_frontier = 9223372036854775807",
        "DELETE FROM parts",
        "UPDATE parts SET part_count = 5",
        "UPDATE parts SET part_count = 4611686018427387904",
        "DROP TABLE commits",
        "ALTER TABLE fronts RENAME COLUMN worker_frontier TO worker_frontiel",
        "PRAGMA user_version = 4",
    ],
)
def test_altered_records_of_bytewax_are_refused(store: Path, change: str) -> None:
    in_any_part(store, change)
    damage(store)


def test_nothing_is_required_of_states_before_the_first_step(recovery: Path) -> None:
    prepare(recovery, SETTINGS, [])
    place = seal("place", 1, {"fingerprint": "f", "number": 0})
    with changing(recovery) as opened:
        opened.execute("INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (0, 1, 1)")
        opened.execute(
            "INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES (0, 0, 2)"
        )
        opened.execute(
            "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, 1, ?)",
            (f"{FLOW}.stream", "files", pickle.dumps(place)),
        )
    assert verify(recovery, EXPECTED) == {f"{FLOW}.stream"}


def test_of_steps_that_nobody_describes_only_the_form_is_checked(store: Path) -> None:
    some = {name: what for name, what in EXPECTED.items() if name.endswith("cards")}
    assert verify(store, some) == {*EXPECTED}
    odd = {f"{FLOW}.cards": Kept(frozenset(["other"]), lambda state: 1)}
    with pytest.raises(RecoveryDamaged):
        verify(store, odd)

"""A recovery store is made whole or not at all, and resumed only by the flow that made it."""

from __future__ import annotations

import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dataflows.recovery import MANIFEST, RecoveryMismatch, prepare, stored_steps
from dataflows.verify import RecoveryDamaged

ROOT = Path(__file__).parents[2]
SETTINGS = {"shards": 4, "maturity_days": 7.0}
STEPS = {"flow.cards", "flow.score"}


def snapshot(store: Path, step: str, change: bytes | None = b"state", epoch: int = 1) -> None:
    """Puts a snapshot into the store as Bytewax would, at an epoch of which the first is done."""
    with closing(sqlite3.connect(store / "part-0.sqlite3")) as part:
        part.execute(
            "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, 'k', ?, ?)",
            (step, epoch, None if change is None else pickle.dumps(change)),
        )
        part.execute(
            "INSERT OR IGNORE INTO exs (ex_num, worker_count, resume_epoch) VALUES (0, 1, 1)"
        )
        part.execute(
            "INSERT OR IGNORE INTO fronts (ex_num, worker_index, worker_frontier) VALUES (0, 0, 2)"
        )
        part.commit()


def refusal(store: Path, settings: dict[str, Any] = SETTINGS, steps: set[str] = STEPS) -> str:
    with pytest.raises(RecoveryMismatch) as caught:
        prepare(store, settings, steps)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_new_store_is_fresh_until_it_holds_a_snapshot(recovery: Path) -> None:
    assert prepare(recovery, SETTINGS, STEPS)
    assert prepare(recovery, SETTINGS, STEPS)
    snapshot(recovery, "flow.cards")
    assert not prepare(recovery, SETTINGS, STEPS)
    assert stored_steps(recovery) == {"flow.cards"}


def test_an_empty_directory_may_become_a_store(recovery: Path) -> None:
    recovery.mkdir()
    assert prepare(recovery, SETTINGS, STEPS)
    assert (recovery / MANIFEST).exists()


def test_parents_are_made(recovery: Path) -> None:
    assert prepare(recovery / "of" / "this", SETTINGS, STEPS)


@pytest.mark.parametrize(
    ("changes", "names"),
    [({"shards": 8}, "shards 4, not 8"), ({"maturity_days": 3.0}, "maturity_days 7.0, not 3.0")],
)
def test_other_settings_are_refused(recovery: Path, changes: dict[str, Any], names: str) -> None:
    prepare(recovery, SETTINGS, STEPS)
    assert names in refusal(recovery, SETTINGS | changes)
    assert not prepare_after(recovery)


def prepare_after(recovery: Path) -> bool:
    """Whether anything but a fresh store is left."""
    return not prepare(recovery, SETTINGS, STEPS)


def test_a_renamed_step_is_refused_by_its_old_name(recovery: Path) -> None:
    prepare(recovery, SETTINGS, STEPS)
    snapshot(recovery, "flow.cards")
    assert "flow.cards" in refusal(recovery, steps={"flow.profiles", "flow.score"})
    # New steps may be added.
    assert not prepare(recovery, SETTINGS, STEPS | {"flow.more"})


def test_a_step_whose_state_is_gone_does_not_matter(recovery: Path) -> None:
    prepare(recovery, SETTINGS, STEPS)
    snapshot(recovery, "flow.gone", change=None)
    assert prepare(recovery, SETTINGS, STEPS)


def test_what_a_crash_left_of_an_unfinished_epoch_is_forgotten(recovery: Path) -> None:
    prepare(recovery, SETTINGS, STEPS)
    snapshot(recovery, "flow.cards", b"whole", epoch=1)
    snapshot(recovery, "flow.cards", b"unfinished", epoch=2)
    assert not prepare(recovery, SETTINGS, STEPS)
    with closing(sqlite3.connect(recovery / "part-0.sqlite3")) as part:
        assert part.execute("SELECT snap_epoch, ser_change FROM snaps").fetchall() == [
            (1, pickle.dumps(b"whole"))
        ]


def test_a_damaged_manifest_is_refused(recovery: Path) -> None:
    prepare(recovery, SETTINGS, STEPS)
    for content in (b"", b"[]", b"{", b"\xff"):
        (recovery / MANIFEST).write_bytes(content)
        with pytest.raises(RecoveryDamaged, match=r"damaged \(tidegate.json: .*move it away"):
            prepare(recovery, SETTINGS, STEPS)


def test_a_directory_of_others_is_left_alone(recovery: Path) -> None:
    recovery.mkdir()
    (recovery / "letter.txt").write_text("mine")
    assert "not empty" in refusal(recovery)
    assert [path.name for path in recovery.iterdir()] == ["letter.txt"]


# Kills itself at the first event of Python's audit whose arguments hold a word.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from dataflows.recovery import prepare
word, event = sys.argv[2:]
def watch(name, args):
    if name == event and any(word in str(arg) for arg in args):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
prepare(Path(sys.argv[1]), {"shards": 4, "maturity_days": 7.0}, [])
"""


@pytest.mark.parametrize(
    ("word", "event"), [(MANIFEST, "open"), ("recovery", "os.rename"), ("recovery", "os.mkdir")]
)
def test_an_interrupted_making_leaves_nothing_behind(recovery: Path, word: str, event: str) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM, recovery, word, event], cwd=ROOT, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    assert not recovery.exists()
    assert prepare(recovery, SETTINGS, STEPS)
    assert [path.name for path in recovery.parent.iterdir()] == ["recovery"]
    shutil.rmtree(recovery)

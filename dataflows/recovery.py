"""The recovery store: made once, and checked before a flow may resume from it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from bytewax.recovery import init_db_dir

from dataflows import verify
from dataflows.verify import Kept

MANIFEST = "tidegate.json"
LAYOUT = 2

# Fixed when the store is made, whatever the number of workers becomes. Each is synced to the disk
# at each snapshot, which payments wait for: one worker makes one, several write several at once.
MOST_FILES = 4


class RecoveryMismatch(RuntimeError):
    """The recovery store belongs to another flow, or to other settings."""


def prepare(
    directory: Path,
    settings: dict[str, Any],
    steps: Iterable[str],
    kept: Mapping[str, Kept] | None = None,
    files: int = MOST_FILES,
) -> bool:
    """Makes the store where there is none, else checks that this flow may resume from it.

    settings: what cannot change during a store's life. steps: the ids of all steps with state.
    kept: what there must be of them (`verify`). files: of a store that is made. Says whether the
    store is fresh, so that a flow starts from nothing. Nobody else may use the store meanwhile.
    Raises RecoveryMismatch and RecoveryDamaged.
    """
    steps = set(steps)
    wanted = {"layout": LAYOUT, **settings}
    manifest = manifest_of(directory)
    if manifest is None:
        _make(directory, wanted, files)
        return True
    found = _read(manifest)
    for name in sorted({*wanted, *found}):
        if found.get(name) != wanted.get(name):
            raise RecoveryMismatch(
                f"the recovery store in {directory} was made with {name} {found.get(name)}, not "
                f"{wanted.get(name)}: change it back, or move the store away to start without it"
            )
    states = verify.states(directory)
    unknown = sorted({step for step, _ in states}.difference(steps))
    if unknown:
        raise RecoveryMismatch(
            f"the recovery store in {directory} holds state of steps that this version does not "
            f"have: {', '.join(unknown)}. It would be lost: run the version that made the store, "
            "or move the store away to start without it"
        )
    wanted_of = {step: what for step, what in (kept or {}).items() if step in steps}
    verify.agree(directory, states, wanted_of)
    verify.forget_unfinished(directory)
    return not states


def manifest_of(directory: Path) -> Path | None:
    """The file that tells what the store was made with; None where there is no store yet. Raises
    RecoveryMismatch where there is something else."""
    manifest = directory / MANIFEST
    if manifest.exists():
        return manifest
    if directory.exists() and any(directory.iterdir()):
        raise RecoveryMismatch(
            f"{directory} is not empty and holds no recovery store: name another "
            "TIDEGATE_RECOVERY_DIR"
        )
    return None


def stored_steps(directory: Path) -> set[str]:
    """The ids of the steps that the store holds state of."""
    found: set[str] = set()
    for part in sorted(directory.glob("part-*.sqlite3")):
        with closing(sqlite3.connect(f"file:{part}?mode=ro", uri=True)) as store:
            rows = store.execute("SELECT DISTINCT step_id FROM snaps WHERE ser_change IS NOT NULL")
            found.update(step for (step,) in rows)
    return found


def _read(manifest: Path) -> dict[str, Any]:
    try:
        found = json.loads(manifest.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise verify.damaged(manifest.parent, f"{manifest.name}: it is no JSON object")
    return found


def _make(directory: Path, settings: dict[str, Any], files: int) -> None:
    # Under another name until it is whole, so that a start that is cut short leaves nothing behind.
    unfinished = directory.with_name(f"{directory.name}.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True)
    init_db_dir(unfinished, files)  # type: ignore[no-untyped-call]
    (unfinished / MANIFEST).write_text(json.dumps(settings, indent=1) + "\n")
    unfinished.rename(directory)

"""Looks through a recovery store before a flow resumes from it: is it whole, and of one moment?

Bytewax keeps a store as a few SQLite files, each with the tables `parts` (which file of how many),
`exs` and `fronts` (the executions, and how far each worker had come), `commits` and `snaps`: what
each step and key remembered at the end of an epoch, as the pickle of what its `snapshot` gave. A
torn or altered file would at best end in a panic and at worst in other decisions, without a word.
"""

from __future__ import annotations

import io
import pickle
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from bytewax.recovery import init_db_dir

from models.portable import BadState

_LARGEST = 2**48  # of numbers that count executions, epochs and workers; beyond, they are damaged

# Where the next execution resumes. As Bytewax reckons it: the epoch that the slowest worker of the
# last execution had come to, which is where it began unless the worker said more.
_EXECUTIONS = "SELECT ex_num, worker_count, resume_epoch FROM exs"
_FRONTS = "SELECT ex_num, worker_index, worker_frontier FROM fronts"
_COMMITS = "SELECT commit_epoch FROM commits"

_NEWEST = """
SELECT step_id, state_key, ser_change FROM snaps
JOIN (
    SELECT step_id, state_key, MAX(snap_epoch) AS snap_epoch FROM snaps
    WHERE snap_epoch < ? GROUP BY step_id, state_key
) USING (step_id, state_key, snap_epoch)
WHERE ser_change IS NOT NULL
"""

_LEAST_FREE = 2**20  # bytes; SQLite fails when not even a page of 4,096 is left

_AWAY = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY)

_FORGET = "DELETE FROM snaps WHERE snap_epoch >= ?"


State = tuple[str, str]  # step id, key


class RecoveryDamaged(RuntimeError):
    """The recovery store is torn or altered: a flow must not resume from it."""


class RecoveryAway(RuntimeError):
    """The recovery store cannot be opened for want of space, rights or luck; it may be sound."""


@dataclass(frozen=True)
class Kept:
    """What a step keeps in the store: the keys that it has state of, and how to read from a state
    the number of the step of the stream that it expects next, which is the same everywhere (None
    for a step that knows of none). `number` raises `BadState` when the bytes are not what was
    saved. keys: None where a step may have state of any or of none."""

    keys: frozenset[str] | None
    number: Callable[[bytes], int | None]


class _Damage(Exception):
    """In which file, and what it is."""


class _Away(Exception):
    """The same for what is no damage."""


def states(directory: Path) -> dict[State, bytes]:
    """Reads everything that the next execution will resume from: what each step's keys remember;
    nothing in a store that is fresh. Raises RecoveryDamaged and RecoveryAway."""
    with _telling(directory):
        parts = _parts(directory)
        return _states(parts, _resume_epoch(parts))


def agree(directory: Path, found: Mapping[State, bytes], kept: Mapping[str, Kept]) -> None:
    """Raises RecoveryDamaged unless the states that were found are all that there must be, as they
    were saved, and of one moment. kept: by step id; of other steps nothing is known."""
    with _telling(directory):
        _agree(found, kept)


def forget_unfinished(directory: Path) -> None:
    """Removes what a crash left of an epoch that was not complete. Raises as `states` does.

    Bytewax does not read it when it resumes, but would later: when the epoch of that number comes
    again without anything new for a key.
    """
    with _telling(directory):
        parts = _parts(directory)
        epoch = _resume_epoch(parts)
        for part in parts:
            with _opened(part, "rw") as store, store:
                store.execute("BEGIN IMMEDIATE")  # fails where Bytewax could not write either
                store.execute(_FORGET, [epoch])


def damaged(directory: Path, how: str) -> RecoveryDamaged:
    """What to tell of a store that is damaged."""
    return RecoveryDamaged(
        f"the recovery store in {directory} is damaged ({how}): restore a backup of it that is no "
        "newer than the database, or move it away to start without it; stored decisions stand"
    )


def full_disk(directory: Path) -> str | None:
    """Says so if the disk under a recovery store is full."""
    while not directory.exists():
        directory = directory.parent
    free = shutil.disk_usage(directory).free
    if free >= _LEAST_FREE:
        return None
    return f"the disk under the recovery store in {directory} is full: make room; nothing is lost"


@contextmanager
def _telling(directory: Path) -> Iterator[None]:
    try:
        yield
    except _Damage as damage:
        raise damaged(directory, str(damage)) from damage
    except _Away as away:
        raise RecoveryAway(
            full_disk(directory)
            or f"the recovery store in {directory} cannot be used now ({away}); nothing is lost"
        ) from away


def _parts(directory: Path) -> list[Path]:
    """The files, all of them there and sound by SQLite's own measure."""
    found = sorted(directory.glob("part-*.sqlite3"))
    if not found:
        raise _Damage("it has no part-*.sqlite3")
    counts = set()
    for part in found:
        with _opened(part) as store:
            report = [row[0] for row in store.execute("PRAGMA integrity_check(1)")]
            if report != ["ok"]:
                _torn(part, " ".join(str(report[0]).split()))
            if _schema(store) != _sound_schema():
                _torn(part, "its tables are not those of a recovery store")
            rows = store.execute("SELECT part_index, part_count FROM parts").fetchall()
        if len(rows) != 1 or part.name != f"part-{rows[0][0]}.sqlite3":
            _torn(part, f"it says that it is {rows}")
        counts.add(int(rows[0][1]))
    wanted = {f"part-{index}.sqlite3" for index in range(min(max(counts), 2 * len(found)))}
    missing = sorted(wanted.difference(part.name for part in found))
    if missing:
        raise _Damage(f"{missing[0]}: it is missing")
    if counts != {len(found)}:
        raise _Damage(f"its files say that they are {sorted(counts)}, and there are {len(found)}")
    return found


def _resume_epoch(parts: Iterable[Path]) -> int:
    executions: dict[int, tuple[int, int]] = {}
    fronts: dict[tuple[int, int], int] = {}
    commits = []
    for part in parts:
        with _opened(part) as store:
            for number, workers, epoch in store.execute(_EXECUTIONS):
                executions[number] = workers, epoch
                _in_bounds(part, number, workers, epoch)
            for number, worker, front in store.execute(_FRONTS):
                fronts[number, worker] = max(front, fronts.get((number, worker), 0))
                _in_bounds(part, number, worker, front)
            commits += [(part, epoch) for (epoch,) in store.execute(_COMMITS)]
    if not executions:
        if fronts or commits:
            raise _Damage("it names no execution")
        return 1
    last = max(executions)
    workers, began = executions[last]
    # All others of that execution are where it began; so many workers there are never.
    known = [front for (number, _), front in fronts.items() if number == last]
    epoch = min([max(began, front) for front in known] + [began] * (len(known) < workers))
    for part, commit in commits:
        if commit >= epoch:  # it no longer has what there was before
            _torn(part, f"it is newer than the others: it is at {commit}, they resume at {epoch}")
    return epoch


def _in_bounds(part: Path, *numbers: int) -> None:
    if not all(0 <= number < _LARGEST for number in numbers):
        _torn(part, f"it counts {numbers}")


def _states(parts: Iterable[Path], epoch: int) -> dict[State, bytes]:
    """The newest before the epoch."""
    found: dict[State, bytes] = {}
    for part in parts:
        with _opened(part) as store:
            for step, key, change in store.execute(_NEWEST, [epoch]):
                if (step, key) in found:
                    _torn(part, f"another file has the state of {step} {key} too")
                found[step, key] = _unpickled(part, f"{step} {key}", change)
    return found


def _agree(found: Mapping[State, bytes], kept: Mapping[str, Kept]) -> None:
    numbers: dict[int, State] = {}
    keys_of: dict[str, set[str]] = {}
    for (step, key), state in found.items():
        keys_of.setdefault(step, set()).add(key)
        if step in kept:
            try:
                number = kept[step].number(state)
            except BadState as error:
                raise _Damage(f"{step} {key}: {error}") from error
            if number is not None:
                numbers.setdefault(number, (step, key))
    if len(numbers) > 1:
        of = ", ".join(f"{' '.join(numbers[n])} expects step {n} next" for n in sorted(numbers))
        raise _Damage(f"its states are not of one moment: {of}")
    # Before the first step, only the ends of the flow have a state.
    begun = any(number > 0 for number in numbers)
    for step, what in kept.items():
        if what.keys is None:
            continue
        keys = keys_of.get(step, set())
        odd = sorted((what.keys ^ keys) if begun else (keys - what.keys))
        if odd:
            is_there = odd[0] in keys
            raise _Damage(
                f"it has a state of {step} {odd[0]}, which is none of its keys"
                if is_there
                else f"the state of {step} {odd[0]} is missing"
            )


class _Plain(pickle.Unpickler):
    """Takes bytes, and nothing that would have to be made by code."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it wants {module}.{name}")


def _unpickled(part: Path, what: str, change: Any) -> bytes:
    try:
        value = _Plain(io.BytesIO(change)).load()
    except Exception as error:  # altered bytes may raise almost anything
        raise _Damage(f"{part.name}: the state of {what} cannot be read: {error!r}") from error
    if not isinstance(value, bytes):
        _torn(part, f"the state of {what} is {type(value).__name__}, not bytes")
    return value


@contextmanager
def _opened(part: Path, mode: str = "ro") -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(f"file:{part}?mode={mode}", uri=True)) as store:
            yield store
    except (sqlite3.Error, UnicodeDecodeError) as error:
        what = f"{part.name}: {' '.join(str(error).split())}"
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without its finer distinctions
        raise (_Away if code in _AWAY else _Damage)(what) from error


def _torn(part: Path, why: str) -> NoReturn:
    raise _Damage(f"{part.name}: {why}")


Schema = list[tuple[Any, ...]]


def _schema(store: sqlite3.Connection) -> Schema:
    names = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2"
    version = "PRAGMA user_version"  # by which Bytewax knows what to migrate
    return [*store.execute(names).fetchall(), *store.execute(version).fetchall()]


@cache
def _sound_schema() -> Schema:
    """That of a new store."""
    with tempfile.TemporaryDirectory() as directory:
        init_db_dir(Path(directory), 1)  # type: ignore[no-untyped-call]
        with closing(sqlite3.connect(Path(directory) / "part-0.sqlite3")) as store:
            return _schema(store)

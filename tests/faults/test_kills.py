"""Killed at any moment and started again, a run ends as if nothing had happened.

`tidegate run` is a real process, killed with SIGKILL at moments drawn from a seed, which a failing
test prints.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from dataflows.processes import SILENCE
from tests.dataflows.streams import query, stored
from tests.faults.places import (
    PATIENCE,
    ROWS,
    Place,
    World,
    assert_as_undisturbed,
    beside,
    cleared,
    halted,
)

SEEDS = {1: 20_260_101, 2: 20_260_202}  # by workers


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_ends_as_if_nothing_had_happened(
    place: Place,
    world: World,
    workers: int,
    kills: int,
    record_property: Callable[[str, object], None],
) -> None:
    print(f"seed {SEEDS[workers]}")
    rng = random.Random(SEEDS[workers])
    seen: dict[str, Any] = {}
    killed_in_the_middle = 0
    for kill in range(kills):
        process = place.start(workers)
        # Somewhere in this part of the stream, and then a moment more.
        place.wait_until_scored(round(ROWS * (kill + rng.random()) / kills * 0.9), process)
        time.sleep(rng.random() * 1.2 / kills)
        process.kill()
        process.communicate()
        killed_in_the_middle += process.returncode == -signal.SIGKILL
        place.assert_no_orphans()
        rows = place.decisions()
        assert seen.items() <= rows.items(), "a stored decision changed or is gone"
        seen = rows
    assert killed_in_the_middle >= kills * 2 // 3
    assert seen
    place.finish(workers)
    final = place.decisions()
    assert seen.items() <= final.items(), "a stored decision changed or is gone"
    assert_as_undisturbed(place, world)
    place.assert_no_orphans()
    # Anything else would have failed above.
    name = f"SIGKILL, from files, {workers} workers: to the bit"
    line = {"fault": name, "times": killed_in_the_middle, "seconds": []}
    record_property("fault", json.dumps(line | {"lost": 0, "doubled": 0, "changed": 0}))


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


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_worker_that_hangs_is_ended_and_all_start_again_as_if_nothing_had_happened(
    place: Place, world: World
) -> None:
    process = place.start(2)
    place.wait_until_scored(ROWS // 4, process)
    hangs = max(place.processes() - {process.pid})
    os.kill(hangs, signal.SIGSTOP)
    seen = place.decisions()
    _, said = process.communicate(timeout=SILENCE + PATIENCE)
    assert process.returncode == 0, said
    assert f"hangs: no sign of life for {SILENCE:g} s" in said
    assert said.count("ended with SIGKILL: all workers start again in") == 1
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


def lease_sessions(place: Place) -> set[int]:
    sessions = """SELECT pid FROM pg_stat_activity
        WHERE application_name = 'tidegate-lease' AND datname = current_database()"""
    return {pid for (pid,) in query(place.database, sessions)}

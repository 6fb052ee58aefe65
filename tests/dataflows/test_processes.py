"""A process that waits for its job has begun before it gets it, and ends when nobody needs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dataflows.processes import WORKER, Process, Spare
from tests.waiting import runs, wait_until

# Says that it is there, and what its job is once it has one.
PROGRAM = """
import json, os, sys
place = sys.argv[1]
open(f"{place}/{os.getpid()}", "w").close()
line = sys.stdin.readline()
with open(f"{place}/{os.getpid()}", "w") as told:
    told.write(line)
sys.exit(7 if line else 0)
"""


class Told:
    """What processes of the program say, by their id."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.command = [sys.executable, "-c", PROGRAM, str(place)]

    def __call__(self) -> dict[int, Any]:
        said = {int(path.name): path.read_text() for path in self.place.iterdir()}
        return {pid: json.loads(text)["index"] if text else None for pid, text in said.items()}


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


@pytest.fixture
def spare(told: Told) -> Iterator[Spare]:
    with closing(Spare(told.command, calm=0.0)) as spare:
        yield spare


def ended(process: Process) -> int:
    wait_until(lambda: process.poll() is not None, 20.0)
    code = process.poll()
    process.close()
    assert code is not None
    return code


def test_the_one_that_waits_gets_the_job_and_only_one_waits(told: Told, spare: Spare) -> None:
    for _ in range(3):
        spare.prepare()
    wait_until(lambda: bool(told()), 20.0)
    (waiting,) = told()
    process = spare.start({"index": 3})
    assert process.name == "worker 3"
    assert ended(process) == 7
    assert told() == {waiting: 3}


def test_without_one_that_waits_or_with_a_dead_one_another_is_started(
    told: Told, spare: Spare
) -> None:
    assert ended(spare.start({"index": 0})) == 7
    assert list(told().values()) == [0]
    spare.prepare()
    wait_until(lambda: None in told().values(), 20.0)
    (waiting,) = [pid for pid, index in told().items() if index is None]
    os.kill(waiting, signal.SIGKILL)
    wait_until(lambda: not runs(waiting), 20.0)
    assert ended(spare.start({"index": 1})) == 7
    assert sorted(told().values(), key=str) == [0, 1, None]


def test_none_is_prepared_just_after_a_start(told: Told) -> None:
    with closing(Spare(told.command, calm=1.0)) as spare:
        began = time.monotonic()
        assert ended(spare.start({"index": 0})) == 7
        while len(told()) == 1:
            spare.prepare()
            assert time.monotonic() - began < 20
            time.sleep(0.01)
        assert time.monotonic() - began >= 1.0


def test_the_one_that_waits_is_ended_when_nobody_needs_it(told: Told) -> None:
    spare = Spare(told.command)
    spare.prepare()
    wait_until(lambda: bool(told()), 20.0)
    (waiting,) = told()
    spare.close()
    assert not runs(waiting)
    spare.close()


SUPERVISOR = """
import os, sys
from dataflows.processes import WORKER, Spare
spare = Spare(WORKER)
spare.prepare()
print(spare._waiting._process.pid, flush=True)
sys.stdin.read()
os._exit(0)
"""


def test_a_worker_that_waits_ends_quietly_when_its_supervisor_is_gone() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as supervisor:
        assert supervisor.stdout is not None
        waiting = int(supervisor.stdout.readline())
        # Empty for a moment after it has begun.
        wait_until(
            lambda: WORKER[2].encode() in Path(f"/proc/{waiting}/cmdline").read_bytes(), 20.0
        )
        _, said = supervisor.communicate("", timeout=60)  # until the worker has closed it too
        assert said == ""
        wait_until(lambda: not runs(waiting), 20.0)

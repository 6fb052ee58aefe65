"""Workers live and die together, and are started again until it is hopeless."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from dataflows.processes import SILENCE
from dataflows.supervisor import Limits, OneMachine, RunFailed, Worker, supervise

pytestmark = pytest.mark.usefixtures("signals")

QUICK = Limits(ending=1.0, first_wait=0.05, longest_wait=0.2, most_failures=4)

# What every worker of these tests does first: it learns its job, says that it is there, and ends
# well when it is told to, from before it can be.
HEAD = """
import json, os, signal, sys, time
job = json.loads(sys.stdin.readline())
index, generation = job["index"], job["generation"]
with open(job["log"], "a") as log:
    log.write(json.dumps(job | {"pid": os.getpid()}) + "\\n")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
"""


@dataclass
class Cluster:
    """A supervised cluster of small programs."""

    log: Path
    generations: int = 0
    problems: list[Exception] = field(default_factory=list)  # of the next starts

    def job(self) -> dict[str, Any]:
        if self.generations and self.problems:
            raise self.problems.pop(0)
        self.generations += 1
        return {"generation": self.generations, "log": str(self.log)}

    def run(
        self, program: str, workers: int = 2, patience: float = SILENCE, **options: Any
    ) -> bool:
        command = [sys.executable, "-c", HEAD + textwrap.dedent(program)]
        crew = OneMachine(workers, command, patience)
        return supervise(crew, self.job, **{"limits": QUICK, **options})

    def started(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def assert_none_left(self) -> None:
        for worker in self.started():
            with pytest.raises(ProcessLookupError):
                os.kill(worker["pid"], 0)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path / "log")


def when(true: Callable[[], bool], then: Callable[[], None]) -> threading.Thread:
    """Does something in the background as soon as it may."""

    def wait() -> None:
        deadline = time.monotonic() + 20
        while not true() and time.monotonic() < deadline:
            time.sleep(0.01)
        then()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_workers_that_end_well_end_the_run(cluster: Cluster) -> None:
    assert cluster.run("")
    assert sorted(worker["index"] for worker in cluster.started()) == [0, 1]
    ((*addresses, _), _) = [worker["addresses"] for worker in cluster.started()]
    assert len(addresses) == 1
    assert cluster.generations == 1


def test_one_worker_has_no_addresses(cluster: Cluster) -> None:
    assert cluster.run("", workers=1)
    assert [worker["addresses"] for worker in cluster.started()] == [[]]


@pytest.mark.parametrize("death", ["sys.exit(7)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_all_are_started_again_when_one_dies(
    cluster: Cluster, death: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert cluster.run(
            f"""
            if generation < 3:
                if index == 1:
                    {death}
                time.sleep(60)
            """
        )
    assert cluster.generations == 3
    started = cluster.started()
    assert sorted((w["generation"], w["index"]) for w in started) == [
        (1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)
    ]  # fmt: skip
    assert len({tuple(worker["addresses"]) for worker in started}) == 3
    how = "exit code 7" if "7" in death else "SIGKILL"
    assert [record.message for record in caplog.records] == [
        f"worker 1 ended with {how}: all workers start again in 0.05 s",
        f"worker 1 ended with {how}: all workers start again in 0.1 s",
    ]
    cluster.assert_none_left()


def test_a_worker_that_does_not_heed_sigterm_is_killed(cluster: Cluster) -> None:
    began = time.monotonic()
    assert cluster.run(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        deaf = job["log"] + ".deaf"
        if generation == 1:
            if index == 0:
                while not os.path.exists(deaf):
                    time.sleep(0.01)
                sys.exit(1)
            open(deaf, "w").close()
            time.sleep(60)
        """
    )
    assert 1.0 < time.monotonic() - began < 20
    cluster.assert_none_left()


@pytest.mark.parametrize("stopped", [False, True], ids=["runs", "stopped"])
def test_a_worker_that_hangs_is_asked_where_it_is_and_ended_and_all_start_again(
    cluster: Cluster,
    stopped: bool,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.WARNING):
        assert cluster.run(
            f"""
            import faulthandler

            def waits_for_ever():
                if {stopped}:
                    os.kill(os.getpid(), signal.SIGSTOP)
                time.sleep(600)

            faulthandler.register(signal.SIGUSR1)
            if generation == 1 and index == 1:
                waits_for_ever()
            for _ in range(100 if generation == 1 else 1):
                os.write(job["reason"], bytes(1))
                time.sleep(0.1)
            """,
            patience=3.0,
            limits=replace(QUICK, ending=0.1),
        )
    assert cluster.generations == 2
    first, second = (record.message for record in caplog.records)
    assert first == ("worker 1 hangs: no sign of life for 3 s; it is asked where it is, and ended")
    assert second == "worker 1 ended with SIGKILL: all workers start again in 0.05 s"
    assert ("in waits_for_ever" in capfd.readouterr().err) is not stopped
    cluster.assert_none_left()


def test_a_known_failure_ends_the_run_with_its_reason_and_no_restart(cluster: Cluster) -> None:
    with pytest.raises(RunFailed, match=r"^the database is behind$"):
        cluster.run(
            """
            if index == 0:
                os.write(job["reason"], b"the database is behind")
                sys.exit(3)
            time.sleep(60)
            """
        )
    assert cluster.generations == 1
    cluster.assert_none_left()


def test_a_reason_is_heard_even_if_another_worker_died_of_it_first(cluster: Cluster) -> None:
    with pytest.raises(RunFailed, match=r"^fenced$"):
        cluster.run(
            """
            ready = job["log"] + ".ready"
            if index == 1:
                while not os.path.exists(ready):
                    time.sleep(0.01)
                sys.exit(1)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            open(ready, "w").close()
            time.sleep(0.5)
            os.write(job["reason"], b"fenced")
            sys.exit(3)
            """,
            limits=replace(QUICK, ending=20.0),
        )
    assert cluster.generations == 1


def test_a_reason_is_heard_however_the_worker_ended_after_it(cluster: Cluster) -> None:
    with pytest.raises(RunFailed, match=r"^fenced$"):
        cluster.run(
            """
            if index == 0:
                os.write(job["reason"], b"fenced")
                os.kill(os.getpid(), signal.SIGABRT)
            time.sleep(60)
            """
        )
    assert cluster.generations == 1
    cluster.assert_none_left()


def test_hopeless_workers_are_given_up_in_one_line_with_what_is_known(cluster: Cluster) -> None:
    with pytest.raises(RunFailed) as caught:
        cluster.run("sys.exit(9)", hint=lambda: "the disk is full")
    said = str(caught.value)
    assert "\n" not in said
    assert "failed 4 times in a row" in said
    assert "ended with exit code 9; the disk is full" in said
    assert cluster.generations == 4


def test_a_cluster_that_ran_for_a_while_starts_the_count_anew(cluster: Cluster) -> None:
    # Every third one lives longer than a short life, so no four in a row are short.
    assert cluster.run(
        """
        if generation == 8:
            sys.exit(0)
        time.sleep(1.5 if generation % 3 == 0 else 0)
        sys.exit(9)
        """,
        workers=1,
        limits=Limits(1.0, 0.01, 0.02, short_life=1.0, most_failures=4),
    )
    assert cluster.generations == 8


def test_sigterm_is_passed_on_and_the_end_is_clean(cluster: Cluster) -> None:
    sender = when(
        lambda: cluster.log.exists() and len(cluster.started()) == 2,
        lambda: os.kill(os.getpid(), signal.SIGTERM),
    )
    assert not cluster.run("time.sleep(60)")
    sender.join()
    assert cluster.generations == 1
    cluster.assert_none_left()


def test_sigterm_ends_the_wait_before_a_restart(cluster: Cluster) -> None:
    sender = when(cluster.log.exists, lambda: time.sleep(0.5))
    stopper = when(lambda: not sender.is_alive(), lambda: os.kill(os.getpid(), signal.SIGTERM))
    began = time.monotonic()
    with pytest.raises(RunFailed, match="stopped before the workers had started again"):
        cluster.run("sys.exit(9)", limits=Limits(first_wait=60, longest_wait=60))
    assert time.monotonic() - began < 20
    stopper.join()
    assert cluster.generations == 1


def test_a_restart_waits_for_what_passes_by_itself(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.problems = [ConnectionError("it is\naway")] * 6
    program = "sys.exit(9 if generation == 1 else 0)"
    with caplog.at_level(logging.WARNING):
        assert cluster.run(program, passing=(ConnectionError,))
    assert cluster.generations == 2
    assert sum("it is away" in record.message for record in caplog.records) == 6


def test_what_does_not_pass_ends_the_run_at_a_restart(cluster: Cluster) -> None:
    cluster.problems = [ValueError("no such files")]
    with pytest.raises(ValueError, match="no such files"):
        cluster.run("sys.exit(9)", passing=(ConnectionError,))


def test_what_fails_at_restarts_counts_as_a_death_but_not_at_the_start(cluster: Cluster) -> None:
    cluster.problems = [OSError("no space")] * 9
    with pytest.raises(RunFailed, match=r"failed 4 times in a row .*; the last time no space;"):
        cluster.run("sys.exit(9)", failing=(OSError,))
    cluster.generations = 1
    with pytest.raises(OSError, match="no space"):
        cluster.run("sys.exit(9)", failing=(OSError,))


class Growing(OneMachine):
    """One worker, and from its first start on two are wanted."""

    def __init__(self, command: Sequence[str], started: Callable[[], int]) -> None:
        super().__init__(1, command)
        self._started = started

    def start(self, job: dict[str, Any]) -> Sequence[Worker]:
        if job["generation"] > 1:
            self._number = 2
        return super().start(job)

    def differs(self) -> bool:
        return self._number == 1 and self._started() == 1


def test_when_others_are_to_work_all_end_well_and_those_start_without_a_pause(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    program = """
    if generation == 1:
        time.sleep(60)
    """
    command = [sys.executable, "-c", HEAD + textwrap.dedent(program)]
    crew = Growing(command, lambda: len(cluster.started()) if cluster.log.exists() else 0)
    with caplog.at_level(logging.WARNING):
        assert supervise(crew, cluster.job, limits=QUICK)
    assert [len(w["addresses"]) for w in cluster.started()] == [0, 2, 2]
    assert not caplog.records
    cluster.assert_none_left()

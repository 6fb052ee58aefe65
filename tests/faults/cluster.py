"""`tidegate run`, live, as real processes: started, looked at, stopped and killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.machines import Machine
from tests.kafka.broker import free_ports
from tests.waiting import wait_until
from tidegate.settings import Topics

TIDEGATE = Path(sys.executable).with_name("tidegate")

SNAPSHOT_SECONDS = 0.5
PATIENCE = 60.0  # seconds until a process must have started or ended
MOST_WORKERS = 3
# Low, so that a stream of a few thousand payments raises alerts.
REVIEW, DECLINE, CONTROL = 0.02, 0.3, 4


class Cluster:
    """The processes of a run. They come and go, the place stays: database, topics, directory.

    address: of Kafka, None for a run from the inbox alone."""

    def __init__(
        self, database: str, address: str | None, topics: Topics, data: Path, **env: str
    ) -> None:
        self.data = data
        self.log = data / "said"
        self.port = _ports(MOST_WORKERS)
        self._env = {
            "TIDEGATE_DATABASE_URL": database,
            **({} if address is None else {"TIDEGATE_KAFKA_BROKERS": address}),
            "TIDEGATE_TOPIC_TRANSACTIONS": topics.transactions,
            "TIDEGATE_TOPIC_LABELS": topics.labels,
            "TIDEGATE_TOPIC_DECISIONS": topics.decisions,
            "TIDEGATE_TOPIC_ALERTS": topics.alerts,
            "TIDEGATE_TOPIC_DEAD_LETTERS": topics.dead_letters,
            "TIDEGATE_DATA_DIR": str(data),
            "TIDEGATE_SNAPSHOT_SECONDS": str(SNAPSHOT_SECONDS),
            "TIDEGATE_METRICS_PORT": str(self.port),
            "TIDEGATE_REVIEW_THRESHOLD": str(REVIEW),
            "TIDEGATE_DECLINE_THRESHOLD": str(DECLINE),
            "TIDEGATE_CONTROL_ONE_IN": str(CONTROL),
            "TIDEGATE_LOG_FORMAT": "text",
            **env,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._workers = 1

    def start(self, workers: int | None = None, env: Mapping[str, str] | None = None) -> None:
        """Starts the command; with as many workers as last time unless told."""
        assert self._process is None
        self._workers = workers or self._workers
        command = [str(TIDEGATE), "run", "--workers", str(self._workers)]
        self._process = self._started(command, env)

    def lead(self, machine: Machine) -> None:
        """Starts the command as the leader of several machines, on this one."""
        assert self._process is None
        self._process = self._started(_supervise(machine))

    def join(self, machine: Machine) -> subprocess.Popen[bytes]:
        """Starts the command on a machine that joins, in a process group of its own."""
        return self._started([*_supervise(machine), "--join"], apart=True)

    def _started(
        self, command: list[str], env: Mapping[str, str] | None = None, *, apart: bool = False
    ) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                env=os.environ | self._env | dict(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=apart,
            )

    def stop(self) -> None:
        """SIGTERM, which must end it well."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self.ended()
        assert code == 0, f"exit code {code}: {self.said()}"
        self.assert_no_orphans()

    def ended(self, seconds: float = PATIENCE) -> int:
        """Waits for the command to end; its exit code."""
        assert self._process is not None
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds:g} s: {self.said()}") from None
        self._process = None
        return code

    @property
    def running(self) -> bool:
        """Whether the command has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill_worker(self, which: int = -1) -> None:
        """SIGKILL to one worker: the others and it are started again by the command."""
        os.kill(self._wait_for_workers()[which], signal.SIGKILL)

    def kill_workers(self) -> None:
        """SIGKILL to all workers at once."""
        for worker in self._wait_for_workers():
            os.kill(worker, signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """SIGKILL to the command itself, which takes its workers along."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None
        self.assert_no_orphans()

    def kill_everything(self) -> None:
        """SIGKILL to whatever is left, at a test's end."""
        for process in self.processes():
            os.kill(process, signal.SIGKILL)
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def processes(self) -> set[int]:
        """Processes that were started for this data directory, by us or by those."""
        mark = f"TIDEGATE_DATA_DIR={self.data}".encode()
        found = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.add(int(entry.name))
                except OSError:  # gone, or somebody else's
                    continue
        return found - {os.getpid()}

    def workers(self) -> list[int]:
        """The worker processes."""
        return sorted(pid for pid in self.processes() if b"dataflows.worker" in _command(pid))

    def assert_no_orphans(self) -> None:
        deadline = time.monotonic() + 10
        while found := self.processes():
            assert time.monotonic() < deadline, f"still there: {found}"
            time.sleep(0.05)

    def said(self) -> str:
        """Everything it said on standard error."""
        return self.log.read_text(errors="replace")

    def get(self, path: str, worker: int = 0) -> tuple[int, str]:
        """What a worker answers: status (0 for none) and body."""
        url = f"http://127.0.0.1:{self.port + worker}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self, status: int = 200, *, naming: str = "") -> dict[str, Any]:
        """Waits until /readyz of the first worker has this status and a check of this name that
        says so; gives the answer."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found, body = self.get("/readyz")
            if found == status:
                answer: dict[str, Any] = json.loads(body)
                checks = {check["name"]: check["ok"] for check in answer["checks"]}
                if not naming or checks.get(naming) is (status == 200):
                    return answer
            assert time.monotonic() < deadline, f"{found} {body}, not {status}: {self.said()}"
            assert self.running, self.said()
            time.sleep(0.05)

    def metric(self, name: str, worker: int = 0) -> float | None:
        """The value of a metric without labels."""
        _, body = self.get("/metrics", worker)
        for line in body.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        return None

    def wait_metric(self, name: str, value: float) -> None:
        """Waits until the first worker's metric has this value."""
        wait_until(lambda: self.metric(name) == value, PATIENCE, self.said)

    def _wait_for_workers(self) -> list[int]:
        deadline = time.monotonic() + PATIENCE
        while len(found := self.workers()) < self._workers:
            assert time.monotonic() < deadline, self.said()
            assert self.running, self.said()
            time.sleep(0.02)
        return found


def _supervise(machine: Machine) -> list[str]:
    return machine.command(
        str(TIDEGATE), "supervise", "--address", f"{machine.address}:2101", "--name", machine.name
    )


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _ports(number: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        (first,) = free_ports(1)
        if all(_free(port) for port in range(first, first + number)):
            return first


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def wait_for(cluster: Cluster, database: str, rows: int, seconds: float = 220) -> None:
    """Returns once so many payments are decided."""
    deadline = time.monotonic() + seconds
    with psycopg.connect(database, autocommit=True) as conn:
        while (conn.execute("SELECT count(*) FROM score").fetchone() or (0,))[0] < rows:
            assert time.monotonic() < deadline, cluster.said()[-2000:]
            time.sleep(0.05)

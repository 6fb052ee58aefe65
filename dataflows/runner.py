"""Runs the scoring flow: checks the start, takes the fence, starts one process or several."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataflows.database import DatabaseHistory, DatabaseWriter, count
from dataflows.engine import execute
from dataflows.feedback import LabelBook
from dataflows.files import FileSource, Input, OtherFile, open_files
from dataflows.messages import Outcome
from dataflows.recovery import RecoveryMismatch, prepare
from dataflows.routes import Routes
from dataflows.scoring import FLOW, STATEFUL, Plan, build
from dataflows.sink import OutcomeSink
from dataflows.store import partitions
from models.policy import Policy
from models.portable import BadState
from tidegate import metrics
from tidegate.readers import LabelFile, UnreadableFile
from tidegate.schema import DAY, Labels, nothing
from tidegate.store import connection, progress

log = logging.getLogger(__name__)

OnStored = Callable[[Sequence[Outcome]], None]

# What a flow cannot go on from, and says in one line.
KNOWN = (
    OtherFile,
    RecoveryMismatch,
    BadState,
    UnreadableFile,
    progress.DatabaseBehind,
    progress.Fenced,
)

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_PATIENCE = 10.0  # seconds that the other workers get to end after one has died


class RunFailed(RuntimeError):
    """The flow could not start or go on; the message says why in one line."""


@dataclass(frozen=True)
class Run:
    """Everything a run from files is told; plain values, as worker processes get it as JSON.

    currency: of files that name none. snapshot_seconds: between snapshots. pace: transactions a
    second to hold the stream back to, 0 for as fast as it goes.
    """

    database_url: str
    recovery_dir: str
    transactions: tuple[str, ...]
    labels: str | None = None
    currency: str | None = None
    shards: int = 4
    workers: int = 1
    snapshot_seconds: float = 10.0
    maturity_days: float = 7.0
    review: float = 0.3
    decline: float = 0.9
    pace: float = 0.0
    metrics_port: int = 0
    metrics_host: str = "127.0.0.1"

    @property
    def plan(self) -> Plan:
        """What the graph is built with."""
        return Plan(self.shards, Policy(self.review, self.decline), self.maturity_days)


def run(given: Run, on_stored: OnStored = lambda outcomes: None) -> bool:
    """Runs until the files end or SIGTERM or SIGINT comes, either of which ends with a snapshot;
    says whether it was the files.

    on_stored is told of what was stored, if the flow runs in this process (one worker). Raises
    RunFailed.
    """
    with _one_line():
        read_input(given)  # a file that cannot be read stops the start, not a worker
        fresh = prepare(
            Path(given.recovery_dir),
            {"shards": given.shards, "maturity_days": given.maturity_days},
            {f"{FLOW}.{step}" for step in STATEFUL},
        )
        generation = _take_generation(given, fresh)
        if given.workers == 1:
            return work(given, generation, 0, [], on_stored)
        return _supervise(given, generation)


def read_input(given: Run) -> Input:
    """Opens the files and reads the labels. Raises `readers.UnreadableFile`."""
    labels, dead = _no_labels(), None
    if given.labels is not None:
        labels, dead = LabelFile(Path(given.labels)).read()
    return Input(
        open_files([Path(path) for path in given.transactions], given.currency),
        LabelBook(labels),
        dead,
        round(given.maturity_days * DAY),
        pace=given.pace,
    )


def work(
    given: Run, generation: int, index: int, addresses: list[str], on_stored: OnStored
) -> bool:
    """One worker's part: the whole flow when there are no addresses, else its share of it. Says
    whether the files came to their end, as far as this worker knows."""
    stop = _stop_on_signals()
    if given.metrics_port:
        metrics.serve(given.metrics_port + index, given.metrics_host)
    keys = Routes(given.shards).keys

    def stored(outcomes: Sequence[Outcome]) -> None:
        count(outcomes)
        on_stored(outcomes)

    with (
        closing(DatabaseWriter(given.database_url, generation, stored)) as writer,
        closing(DatabaseHistory(given.database_url, partitions(keys))) as history,
    ):
        flow = build(
            FileSource(read_input(given), history, stop), OutcomeSink(keys, writer), given.plan
        )
        execute(flow, Path(given.recovery_dir), given.snapshot_seconds, addresses, index)
    return not stop.is_set()


def _take_generation(given: Run, fresh: bool) -> int:
    with connection.connect(given.database_url, application_name="tidegate-start") as conn:
        generation = progress.take_generation(conn)
        if fresh:  # whatever an earlier store had written no longer says how far this one is
            for partition in partitions(Routes(given.shards).keys):
                progress.begin(conn, generation, partition, None)
    return generation


def _supervise(given: Run, generation: int) -> bool:
    """Starts the workers as processes, passes signals on, and ends all when one dies. Says whether
    the files came to their end."""
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(given.workers)]
    stop = _stop_on_signals()
    workers = []
    for index in range(given.workers):
        # Bytewax speaks of its links on standard output, which is for results.
        with _signals_wait():
            process = subprocess.Popen(
                [sys.executable, "-m", "dataflows.worker"],
                stdin=subprocess.PIPE,
                stdout=2,
                text=True,
            )
        assert process.stdin is not None
        job = {"run": asdict(given), "generation": generation, "index": index}
        process.stdin.write(json.dumps({**job, "addresses": addresses}) + "\n")
        process.stdin.flush()  # and stays open: a worker whose supervisor dies sees its end
        workers.append(process)
    told = False
    failed_at: float | None = None
    while any(process.poll() is None for process in workers):
        if stop.wait(0.05) and not told:
            told = True
            _signal(workers, signal.SIGTERM)
        if failed_at is None and any(process.poll() for process in workers):
            failed_at = time.monotonic()
            _signal(workers, signal.SIGTERM)
        if failed_at is not None and time.monotonic() - failed_at > _PATIENCE:
            _signal(workers, signal.SIGKILL)
    codes = [process.wait() for process in workers]
    for process in workers:
        assert process.stdin is not None
        process.stdin.close()
    if any(codes):
        ended = ", ".join(f"worker {index} with {code}" for index, code in enumerate(codes))
        raise RunFailed(f"the workers ended: {ended}; start again to resume")
    return not told


def run_worker(line: str) -> None:
    """A worker process: its job is one line of JSON. Raises RunFailed."""
    job: dict[str, Any] = json.loads(line)
    given = job["run"] | {"transactions": tuple(job["run"]["transactions"])}
    with _one_line():
        work(Run(**given), job["generation"], job["index"], job["addresses"], lambda outcomes: None)


@contextmanager
def _one_line() -> Iterator[None]:
    """Turns what is known to go wrong into RunFailed, from however deep in the flow it came."""
    try:
        yield
    except BaseException as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, KNOWN):
                raise RunFailed(str(cause)) from error
            cause = cause.__cause__ or cause.__context__
        raise


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in _STOPPING:
            signal.signal(number, lambda *_: stop.set())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    return stop


@contextmanager
def _signals_wait() -> Iterator[None]:
    """A process that is started here gets signals only once it can end well (`_stop_on_signals`):
    one that comes while it still imports would end it at once."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal(workers: Sequence[subprocess.Popen[str]], number: int) -> None:
    for process in workers:
        if process.poll() is None:
            process.send_signal(number)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for some in sockets:
            some.bind(("127.0.0.1", 0))
        return [some.getsockname()[1] for some in sockets]
    finally:
        for some in sockets:
            some.close()


def _no_labels() -> Labels:
    none = nothing(0)
    return Labels(none, np.zeros(0, np.int64), np.zeros(0, np.bool_), none, none)


def watch_parent(lines: Any) -> None:
    """Ends this process at once when its standard input does, that is, when the supervisor is
    gone, however it went."""

    def wait() -> None:
        lines.read()
        os._exit(70)

    threading.Thread(target=wait, name="tidegate-parent", daemon=True).start()

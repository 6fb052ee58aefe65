"""Runs the scoring flow: checks the start, takes the fence, starts one process or several."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from dataflows.database import DatabaseHistory, DatabaseWriter, count
from dataflows.engine import execute
from dataflows.feedback import LabelBook
from dataflows.files import FileSource, Input, OtherFile, open_files
from dataflows.lease import Lease
from dataflows.messages import Outcome
from dataflows.noting import forget, noted
from dataflows.recovery import RecoveryMismatch, prepare
from dataflows.routes import Routes
from dataflows.scoring import FLOW, STATEFUL, Plan, build
from dataflows.sink import OutcomeSink
from dataflows.store import partitions
from dataflows.supervisor import RunFailed, stop_on_signals, supervise
from models.policy import Policy
from models.portable import BadState
from tidegate import metrics
from tidegate.readers import LabelFile, UnreadableFile
from tidegate.schema import DAY, Labels, nothing
from tidegate.store import connection, progress
from tidegate.store.lease import AnotherCluster

__all__ = ["KNOWN", "Run", "RunFailed", "read_input", "run", "run_worker", "work"]

OnStored = Callable[[Sequence[Outcome]], None]

# What a flow cannot go on from, and says in one line.
KNOWN = (
    AnotherCluster,
    OtherFile,
    RecoveryMismatch,
    BadState,
    UnreadableFile,
    progress.DatabaseBehind,
    progress.Fenced,
)


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

        def generation() -> int:
            fresh = prepare(
                Path(given.recovery_dir),
                {"shards": given.shards, "maturity_days": given.maturity_days},
                {f"{FLOW}.{step}" for step in STATEFUL},
            )
            return _take_generation(given, fresh)

        def job(lease: Lease) -> dict[str, Any]:
            lease.require()  # or a restart would take over from who has taken over from us
            return {"run": asdict(given), "generation": generation()}

        # Before anything is changed, so that a start by mistake does not disturb what runs.
        with Lease(given.database_url) as lease:
            if given.workers == 1:
                return work(given, generation(), 0, [], on_stored)
            return supervise(
                given.workers,
                partial(job, lease),
                passing=(psycopg.OperationalError,),  # while the database is away
            )


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
    stop = stop_on_signals()
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


def run_worker(line: str) -> None:
    """A worker process: its job is one line of JSON. Raises RunFailed."""
    job: dict[str, Any] = json.loads(line)
    given = job["run"] | {"transactions": tuple(job["run"]["transactions"])}
    with _one_line():
        work(Run(**given), job["generation"], job["index"], job["addresses"], lambda outcomes: None)


@contextmanager
def _one_line() -> Iterator[None]:
    """Turns what is known to go wrong into RunFailed, from however deep in the flow it came."""
    forget()
    try:
        yield
    except BaseException as error:
        causes: list[BaseException | None] = [error, noted()]
        for cause in causes:
            while cause is not None:
                if isinstance(cause, KNOWN):
                    raise RunFailed(str(cause)) from error
                cause = cause.__cause__ or cause.__context__
        raise


def _no_labels() -> Labels:
    none = nothing(0)
    return Labels(none, np.zeros(0, np.int64), np.zeros(0, np.bool_), none, none)

"""Starts the scoring flow: checks the start, takes the fence, starts one process or several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psycopg

from dataflows import joining
from dataflows.crew import Board, ManyMachines
from dataflows.expected import expected
from dataflows.joining import Post
from dataflows.lease import Lease
from dataflows.processes import Spare
from dataflows.recovery import MOST_FILES, prepare
from dataflows.routes import Routes
from dataflows.run import Run
from dataflows.scoring import FLOW
from dataflows.store import partitions
from dataflows.supervisor import Crew, OneMachine, RunFailed, supervise
from dataflows.verify import RecoveryAway, full_disk
from dataflows.working import NotLearning, OnStored, one_line, read_input, work
from models.learner import Additive
from tidegate.store import connection, models, progress, promotions
from tidegate.store.crew import Member
from tidegate.store.promotions import RunningModel

__all__ = ["Run", "RunFailed", "join", "run"]


def run(
    given: Run,
    on_stored: OnStored = lambda outcomes: None,
    address: str | None = None,
) -> bool:
    """Runs until the files end or SIGTERM or SIGINT comes, either of which ends with a snapshot;
    says whether it was the files.

    A live run, and one of several workers, is supervised: when a process dies, all start again.
    on_stored is told of what was stored, if the flow runs in this process. address: host:port that
    a live run's worker can be reached at by those of other machines, which may join it (`join`),
    as many as there are shards. Raises RunFailed.
    """
    directory = Path(given.recovery_dir)
    with one_line(directory):
        if not given.live:
            read_input(given)  # a file that cannot be read stops the start, not a worker

        def generation() -> int:
            fresh = prepare(
                directory,
                given.fixed,
                {f"{FLOW}.{step}" for step in given.steps},
                expected(given.shards, given.fixed.get("slots", 0)),
                min(given.workers, MOST_FILES),
            )
            return _take_generation(given, fresh)

        def job(lease: Lease) -> dict[str, Any]:
            lease.require()  # or a restart would take over from who has taken over from us
            return {"run": asdict(given), "generation": generation()}

        # Before anything is changed, so that a start by mistake does not disturb what runs.
        with Lease(given.database_url) as lease, _crew(given, address) as crew:
            if given.workers == 1 and not given.live:
                return work(given, generation(), 0, [], on_stored)
            return supervise(
                crew,
                partial(job, lease),
                passing=(psycopg.OperationalError,),  # while the database is away
                failing=(RecoveryAway,),
                hint=partial(full_disk, directory),
            )


def join(given: Run, name: str, address: str) -> None:
    """Offers a worker to whoever leads on this database, until SIGTERM or SIGINT comes.

    given: as the leader's, or it is left out. name: for logs. address: host:port that the worker
    can be reached at by the others'. It keeps nothing: its state comes from the leader's recovery
    store and goes there. Raises RunFailed.
    """
    session = uuid4()
    member = Member(session, name, address, given.shared)
    with (
        one_line(),
        TemporaryDirectory(prefix="tidegate-worker-") as directory,
        closing(Post(given.database_url, member)) as post,
        closing(Spare()) as spare,
    ):
        told = asdict(replace(given, recovery_dir=directory))
        joining.join(post, session, spare, {"run": told, "place": 0})


@contextmanager
def _crew(given: Run, address: str | None) -> Iterator[Crew]:
    if address is None:
        yield OneMachine(given.workers)
        return
    with closing(Board(given.database_url)) as board, closing(Spare()) as spare:
        yield ManyMachines(board, address, given.shared, given.shards, spare)


def _take_generation(given: Run, fresh: bool) -> int:
    plan = given.plan
    learning = [
        RunningModel(model.name, model.description, isinstance(model, Additive))
        for model in (plan.champion, *plan.challengers)
    ]
    with connection.connect(given.database_url, application_name="tidegate-start") as conn:
        generation = progress.take_generation(conn)
        models.write_policy(conn, plan.policy.version, plan.policy.content)
        promotions.write_models(conn, learning)
        serving = promotions.serving(conn)
        if serving not in {model.name for model in learning if model.servable}:
            raise NotLearning(
                f"{serving} was promoted and is none of TIDEGATE_CHALLENGERS: add it, or take it "
                "back with `tidegate models rollback`"
            )
        if fresh:  # whatever an earlier store had written no longer says how far this one is
            for partition in partitions(Routes(given.shards).keys):
                progress.begin(conn, generation, partition, None)
    return generation

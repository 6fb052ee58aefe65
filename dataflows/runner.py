"""Runs the scoring flow: checks the start, takes the fence, starts one process or several."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from dataflows.engine import execute
from dataflows.expected import expected
from dataflows.feedback import LabelBook
from dataflows.files import FileSource, Input, OtherFile, open_files
from dataflows.history import DatabaseHistory
from dataflows.lease import Lease
from dataflows.live.inbox import reading_inbox
from dataflows.live.order import OrderStep
from dataflows.live.reader import reading
from dataflows.live.slots import SlotSource
from dataflows.live.sources import Sources
from dataflows.live.watch import OffsetsAhead, TopicGone
from dataflows.messages import Outcome
from dataflows.noting import forget, noted
from dataflows.publisher import Publisher, PublishFailed
from dataflows.recovery import RecoveryMismatch, prepare
from dataflows.routes import Routes
from dataflows.scoring import FLOW, FROM_FILES, LIVE, Plan, build, build_live
from dataflows.sink import OutcomeSink
from dataflows.store import partitions
from dataflows.supervisor import RunFailed, stop_on_signals, supervise
from dataflows.verify import RecoveryAway, RecoveryDamaged, full_disk
from dataflows.writer import DatabaseWriter, count
from models.learner import Additive
from models.policy import Policy
from models.portable import BadState
from models.roster import challengers
from tidegate.exporter import Check, serve
from tidegate.readers import LabelFile, UnreadableFile
from tidegate.schema import DAY, Labels, nothing
from tidegate.settings import Kafka, Topics
from tidegate.store import connection, models, progress, promotions
from tidegate.store.connection import Conn
from tidegate.store.lease import AnotherCluster
from tidegate.store.promotions import RunningModel

__all__ = ["KNOWN", "Run", "RunFailed", "read_input", "run", "run_worker", "work"]

log = logging.getLogger(__name__)

OnStored = Callable[[Sequence[Outcome]], None]


class NotLearning(ValueError):
    """The model that was promoted is none of those that learn."""


# What a flow cannot go on from, and says in one line.
KNOWN = (
    AnotherCluster,
    OffsetsAhead,
    OtherFile,
    PublishFailed,
    RecoveryAway,
    RecoveryDamaged,
    RecoveryMismatch,
    TopicGone,
    BadState,
    NotLearning,
    UnreadableFile,
    progress.DatabaseBehind,
    progress.Fenced,
)


@dataclass(frozen=True)
class Run:
    """Everything a run is told; plain values, as worker processes get it as JSON.

    transactions: the files it reads. Without any it is live: it reads the inbox, and kafka, which
    it publishes to as well, where that is given. currency: of files that name none.
    snapshot_seconds: between snapshots. pace: transactions a second to hold files back to, 0 for as
    fast as it goes. promote: by how much average precision and over how many frauds a challenger
    must have done better to be promoted by the flow itself; None: never.
    """

    database_url: str
    recovery_dir: str
    transactions: tuple[str, ...] = ()
    labels: str | None = None
    currency: str | None = None
    shards: int = 4
    workers: int = 1
    snapshot_seconds: float = 10.0
    maturity_days: float = 7.0
    review: float = 0.3
    decline: float = 0.9
    control: int = 20
    challengers: tuple[str, ...] = ()
    promote: tuple[float, int] | None = None
    pace: float = 0.0
    metrics_port: int = 0
    metrics_host: str = "127.0.0.1"
    kafka: dict[str, Any] | None = field(default=None, repr=False)  # `Kafka`; may hold passwords

    @property
    def brokers(self) -> Kafka | None:
        """The way to Kafka, None where there is none."""
        if self.kafka is None:
            return None
        topics = Topics(**self.kafka["topics"])
        return Kafka(**{**self.kafka, "brokers": tuple(self.kafka["brokers"]), "topics": topics})

    @property
    def fixed(self) -> dict[str, Any]:
        """What cannot change in the life of a recovery store."""
        fixed: dict[str, Any] = {"shards": self.shards, "maturity_days": self.maturity_days}
        if not self.live:
            return {"input": "files", **fixed}
        return {"input": "inbox" if self.kafka is None else "kafka", "slots": self.slots, **fixed}

    @property
    def live(self) -> bool:
        """Whether it goes on until it is stopped."""
        return not self.transactions

    @property
    def slots(self) -> int:
        """That a live run's source has."""
        return 1 if self.kafka is None else int(self.kafka["slots"])

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps with state."""
        return LIVE if self.live else FROM_FILES

    @property
    def plan(self) -> Plan:
        """What the graph is built with."""
        policy = Policy(self.review, self.decline, self.control)
        others = challengers(self.challengers)
        return Plan(self.shards, policy, self.maturity_days, challengers=others)


def run(given: Run, on_stored: OnStored = lambda outcomes: None) -> bool:
    """Runs until the files end or SIGTERM or SIGINT comes, either of which ends with a snapshot;
    says whether it was the files.

    A live run, and one of several workers, is supervised: when a process dies, all start again.
    on_stored is told of what was stored, if the flow runs in this process. Raises RunFailed.
    """
    directory = Path(given.recovery_dir)
    with _one_line(directory):
        if not given.live:
            read_input(given)  # a file that cannot be read stops the start, not a worker

        def generation() -> int:
            fresh = prepare(
                directory,
                given.fixed,
                {f"{FLOW}.{step}" for step in given.steps},
                expected(given.shards, given.fixed.get("slots", 0)),
            )
            return _take_generation(given, fresh)

        def job(lease: Lease) -> dict[str, Any]:
            lease.require()  # or a restart would take over from who has taken over from us
            return {"run": asdict(given), "generation": generation()}

        # Before anything is changed, so that a start by mistake does not disturb what runs.
        with Lease(given.database_url) as lease:
            if given.workers == 1 and not given.live:
                return work(given, generation(), 0, [], on_stored)
            return supervise(
                given.workers,
                partial(job, lease),
                passing=(psycopg.OperationalError,),  # while the database is away
                failing=(RecoveryAway,),
                hint=partial(full_disk, directory),
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
    keys = Routes(given.shards).keys

    def stored(outcomes: Sequence[Outcome]) -> None:
        count(outcomes)
        on_stored(outcomes)

    kafka, url = given.brokers, given.database_url
    run_flow = partial(
        execute,
        recovery_dir=Path(given.recovery_dir),
        snapshot_seconds=given.snapshot_seconds,
        addresses=addresses,
        index=index,
    )
    with ExitStack() as opened:
        read = DatabaseHistory(url, partitions(keys), generation, _promotes(given))
        history = opened.enter_context(closing(read))
        publisher = None if kafka is None else opened.enter_context(closing(Publisher(kafka)))
        writing = DatabaseWriter(url, generation, stored, publisher, tells=given.live)
        writer = opened.enter_context(closing(writing))
        if publisher is not None:
            opened.callback(publisher.give_up)  # before the writer is closed, which may wait in it
        sink = OutcomeSink(keys, writer)
        checks: dict[str, Check] = {"database": lambda: writer.away() or history.away()}
        if given.metrics_port:
            opened.callback(serve(given.metrics_port + index, given.metrics_host, checks).close)
        if not given.live:
            run_flow(build(FileSource(read_input(given), history, stop), sink, given.plan))
            return not stop.is_set()
        inbox = opened.enter_context(reading_inbox(url, history, given.slots))
        reader = None if kafka is None else opened.enter_context(reading(kafka, history))
        if reader is not None and publisher is not None:
            checks |= {"kafka": reader.away, "publishing": publisher.away}
        source = SlotSource(given.slots, Sources(reader, inbox), stop)
        maturity = round(given.maturity_days * DAY)

        def order(state: bytes | None) -> OrderStep:
            return OrderStep(state, history, maturity, given.slots + 1)  # with the inbox

        run_flow(build_live(source, order, sink, given.plan))
    return not stop.is_set()


def _promotes(given: Run) -> Callable[[Conn], object]:
    if given.promote is None:
        return lambda conn: None
    margin, frauds = given.promote
    return partial(promotions.automatic, margin=margin, frauds=frauds)


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


def run_worker(line: str) -> None:
    """A worker process: its job is one line of JSON. Raises RunFailed."""
    job: dict[str, Any] = json.loads(line)
    given = job["run"] | {name: tuple(job["run"][name]) for name in ("transactions", "challengers")}
    with _one_line():
        work(Run(**given), job["generation"], job["index"], job["addresses"], lambda outcomes: None)


@contextmanager
def _one_line(recovery: Path | None = None) -> Iterator[None]:
    """Turns what is known to go wrong into RunFailed, from however deep in the flow it came; so
    also whatever comes of a full disk under the recovery store."""
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
        told = isinstance(error, RunFailed | KeyboardInterrupt)
        if recovery is not None and not told and (full := full_disk(recovery)):
            raise RunFailed(f"{full}; start again to resume") from error
        if (cause := noted()) is not None and not told:
            log.error("the flow failed", exc_info=cause)  # Bytewax may have lost sight of it
        raise


def _no_labels() -> Labels:
    none = nothing(0)
    return Labels(none, np.zeros(0, np.int64), np.zeros(0, np.bool_), none, none)

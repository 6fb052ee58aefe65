"""What a worker does: its share of the flow; and how what goes wrong in it is told."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dataflows.engine import execute
from dataflows.feedback import LabelBook
from dataflows.files import FileSource, Input, OtherFile, open_files
from dataflows.history import DatabaseHistory
from dataflows.live.inbox import reading_inbox
from dataflows.live.order import OrderStep
from dataflows.live.reader import reading
from dataflows.live.slots import SlotSource
from dataflows.live.sources import Sources
from dataflows.live.watch import OffsetsAhead, TopicGone
from dataflows.messages import Outcome
from dataflows.noting import forget, noted
from dataflows.processes import stop_on_signals
from dataflows.publisher import Publisher, PublishFailed
from dataflows.pulse import beating
from dataflows.recovery import RecoveryMismatch
from dataflows.routes import Routes
from dataflows.run import Run
from dataflows.scoring import build, build_live
from dataflows.sink import OutcomeSink
from dataflows.store import partitions
from dataflows.supervisor import RunFailed
from dataflows.verify import RecoveryAway, RecoveryDamaged, full_disk
from dataflows.writer import DatabaseWriter, count
from models.portable import BadState
from tidegate.exporter import Check, serve
from tidegate.readers import LabelFile, UnreadableFile
from tidegate.schema import DAY, Labels, nothing
from tidegate.store import progress, promotions
from tidegate.store.connection import Conn
from tidegate.store.lease import AnotherCluster

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
    given: Run,
    generation: int,
    index: int,
    addresses: list[str],
    on_stored: OnStored,
    pipe: int | None = None,
) -> bool:
    """One worker's part: the whole flow when there are no addresses, else its share of it. Says
    whether the files came to their end, as far as this worker knows. pipe: where a supervisor
    listens for signs of life."""
    stop = stop_on_signals()
    keys = Routes(given.shards).keys

    def stored(outcomes: Sequence[Outcome]) -> None:
        count(outcomes)
        on_stored(outcomes)

    kafka, url = given.brokers, given.database_url
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
            opened.callback(serve(given.metrics_port, given.metrics_host, checks).close)
        if pipe is not None:
            opened.enter_context(beating(pipe, checks))  # reading long files is life too
        if given.live:
            inbox = opened.enter_context(reading_inbox(url, history, given.slots))
            reader = None if kafka is None else opened.enter_context(reading(kafka, history))
            if reader is not None and publisher is not None:
                checks |= {"kafka": reader.away, "publishing": publisher.away}
            source = SlotSource(given.slots, Sources(reader, inbox), stop)
            maturity = round(given.maturity_days * DAY)

            def order(state: bytes | None) -> OrderStep:
                return OrderStep(state, history, maturity, given.slots + 1)  # with the inbox

            flow = build_live(source, order, sink, given.plan)
        else:
            flow = build(FileSource(read_input(given), history, stop), sink, given.plan)
        execute(flow, Path(given.recovery_dir), given.snapshot_seconds, addresses, index)
    return not stop.is_set()


def _promotes(given: Run) -> Callable[[Conn], object]:
    if given.promote is None:
        return lambda conn: None
    margin, frauds = given.promote
    return partial(promotions.automatic, margin=margin, frauds=frauds)


def run_worker(line: str) -> None:
    """A worker process: its job is one line of JSON. Raises RunFailed."""
    job: dict[str, Any] = json.loads(line)
    told = job["run"] | {name: tuple(job["run"][name]) for name in ("transactions", "challengers")}
    given = Run(**told)
    if given.metrics_port:  # one of its own for each worker of a machine
        given = replace(given, metrics_port=given.metrics_port + job["place"])
    with one_line():
        of = job["generation"], job["index"], job["addresses"]
        work(given, *of, lambda outcomes: None, job["reason"])


@contextmanager
def one_line(recovery: Path | None = None) -> Iterator[None]:
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

"""The same flow over labelled history, without a database: how good would the scores have been?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dataflows.engine import execute
from dataflows.feedback import LabelBook
from dataflows.files import FileSource, Input, open_files
from dataflows.memory import MemoryStore
from dataflows.routes import Routes
from dataflows.scoring import Plan, build
from dataflows.sink import OutcomeSink
from dataflows.store import partitions
from models.learner import CHAMPION, Additive
from models.policy import Policy
from models.roster import Challenger
from tidegate.readers import TransactionFile
from tidegate.schema import DAY, Bools, Decisions, Ints, Labels, Metric, Texts, nothing, texts


class NoLabels(ValueError):
    """The history does not say which payments were fraud."""


@dataclass(frozen=True)
class Scored:
    """What an evaluation gives, a row for each good row of the history, by event time."""

    transaction_id: Texts
    event_time: Ints  # microseconds since the epoch
    score: npt.NDArray[np.float64]  # probability, 0 to 1
    log_odds: Ints
    fraud: Bools
    metrics: dict[tuple[str, str], Metric]  # the newest of each by model and name


def evaluate(
    paths: Sequence[Path],
    *,
    delay_days: float = 7.0,
    currency: str | None = None,
    champion: Additive = CHAMPION,
    challengers: tuple[Challenger, ...] = (),
    on_rows: Callable[[int], None] = lambda rows: None,
) -> Scored:
    """Streams history through profiles, model and learning in the order of event time; every label
    is held back by the delay, and what has no fraud label by then counts as genuine.

    Raises `readers.UnreadableFile`, and NoLabels when a file has no column `fraud`.
    """
    files = open_files(paths, currency)
    delay = round(delay_days * DAY)
    labels = _late_labels(files, delay)
    frauds = set(labels.transaction_id.tolist())
    parts: list[Decisions] = []

    def scored(decisions: Decisions) -> None:
        parts.append(replace(decisions, features=_NONE, reasons=nothing(0)))  # too large to keep
        on_rows(len(decisions))

    # The result does not depend on the number of shards, and one is the fastest on one core.
    keys = Routes(1).keys
    metrics: dict[tuple[str, str], Metric] = {}

    def measured(found: Sequence[Metric]) -> None:
        metrics.update({(metric.name, metric.metric): metric for metric in found})

    store = MemoryStore(partitions(keys), delay + 2 * DAY, scored, measured)
    given = Input(files, LabelBook(labels), None, delay, drain=False)
    source = FileSource(given, store, threading.Event())
    # History knows the outcome of every payment, so none is declined, which would hide it.
    plan = Plan(1, Policy(decline=1.0), delay_days, champion, challengers)
    execute(build(source, OutcomeSink(keys, store), plan))
    ids = np.concatenate([nothing(0), *(part.batch.transaction_id for part in parts)])
    return Scored(
        ids,
        np.concatenate([_NO_TIMES, *(part.batch.event_time for part in parts)]),
        np.concatenate([np.zeros(0), *(part.score for part in parts)]),
        np.concatenate([_NO_TIMES, *(part.log_odds for part in parts)]),
        np.array([name in frauds for name in ids], np.bool_),
        metrics,
    )


_NONE = np.zeros((0, 0), np.float32)
_NO_TIMES = np.zeros(0, np.int64)


def _late_labels(files: Sequence[TransactionFile], delay: int) -> Labels:
    ids, times = [nothing(0)], [_NO_TIMES]
    for file in files:
        for chunk in file.chunks():
            if chunk.fraud is None:
                raise NoLabels(
                    f"{file.path.name} has no column fraud, which says what a label would say"
                )
            ids.append(chunk.rows.transaction_id[chunk.fraud])
            times.append(chunk.rows.event_time[chunk.fraud] + delay)
    count = sum(map(len, ids))
    return Labels(
        np.concatenate(ids),
        np.concatenate(times),
        np.ones(count, np.bool_),
        texts(["chargeback"] * count),
        nothing(count),
    )

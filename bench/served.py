"""What the scoring flow serves for a history: the features and decisions others are measured on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.history import DELAY, DELAY_DAYS, History, late_labels
from dataflows.engine import execute
from dataflows.feedback import LabelBook
from dataflows.files import FileSource, Input, open_files
from dataflows.memory import MemoryStore
from dataflows.routes import Routes
from dataflows.scoring import Plan, build
from dataflows.sink import OutcomeSink
from dataflows.store import partitions
from models.policy import Policy
from tidegate.schema import DAY, Bools, Decisions, Features, Ints


@dataclass(frozen=True)
class Rows:
    """Served features of payments in the order of their time, with the truth."""

    event_time: Ints
    features: Features
    fraud: Bools

    def __len__(self) -> int:
        return len(self.event_time)

    def thinned(self, rows: int) -> Rows:
        """About so many of them, evenly over time: a shorter stretch would end before the first
        labels come."""
        step = max(1, len(self) // rows)
        return Rows(self.event_time[::step], self.features[::step], self.fraud[::step])


def decide(history: History, directory: Path) -> list[Decisions]:
    """All decisions on the history, as the flow makes them in memory, a part for each step."""
    parts: list[Decisions] = []
    keys = Routes(1).keys
    store = MemoryStore(partitions(keys), DELAY + 2 * DAY, parts.append)
    files = open_files([history.write_labelled(directory)], None)
    book = LabelBook(late_labels(history.batch, history.fraud))
    source = FileSource(Input(files, book, None, DELAY, drain=False), store, threading.Event())
    execute(build(source, OutcomeSink(keys, store), Plan(1, Policy(), DELAY_DAYS)))
    return parts


def rows_of(parts: Sequence[Decisions], history: History) -> Rows:
    """The decided payments' features with their truth."""
    event_time = np.concatenate([part.batch.event_time for part in parts])
    names = np.concatenate([part.batch.transaction_id for part in parts])
    features = np.concatenate([part.features for part in parts])
    frauds = set(history.batch.transaction_id[history.fraud].tolist())
    fraud = np.array([name in frauds for name in names], np.bool_)
    order = np.argsort(event_time, kind="stable")
    return Rows(event_time[order], features[order], fraud[order])

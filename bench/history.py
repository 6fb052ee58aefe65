"""Payments whose truth is known: simulated from a seed, or read from a labelled file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataflows.evaluate import NoLabels
from tidegate import simulate
from tidegate.readers import TransactionFile
from tidegate.schema import DAY, HOUR, Batch, Bools, Ints, Labels, nothing, texts
from tidegate.simulation.files import appearing
from tidegate.simulation.world import PAYMENTS_A_DAY

SEED = 7
_A_DAY = 10_000  # payments, as many as the data published with the handbook has
_DAYS = 14  # at least: twice the delay of labels
DELAY_DAYS = 7.0
DELAY = round(DELAY_DAYS * DAY)  # microseconds


@dataclass(frozen=True)
class History:
    """Payments in the order of their time, which of them are fraud, and labels that say so."""

    batch: Batch
    fraud: Bools
    labels: Labels

    def write(self, directory: Path) -> tuple[Path, Path]:
        """Transactions and labels as files, for a run."""
        paths = directory / "transactions.parquet", directory / "labels.parquet"
        with appearing(*paths, "parquet") as files:
            files.write(self.batch, self.labels)
        return paths

    def write_labelled(self, directory: Path) -> Path:
        """One file of transactions with a column `fraud`, for an evaluation."""
        transactions, _ = self.write(directory)
        path = directory / "history.parquet"
        table = pq.read_table(transactions)
        pq.write_table(table.append_column("fraud", pa.array(self.fraud)), path)
        return path


def simulated(rows: int) -> History:
    """So many payments of 14 days or more, with labels that come as late as in life."""
    days = max(_DAYS, math.ceil(rows / _A_DAY))
    customers = math.ceil(1.1 * rows / (days * PAYMENTS_A_DAY)) + 10  # some more than are needed
    batch, labels = simulate.simulate(customers, max(40, customers // 3), days, SEED)
    batch = batch.take(np.arange(rows))
    paid = set(batch.transaction_id.tolist())
    labels = labels.take(np.array([name in paid for name in labels.transaction_id], np.bool_))
    # The newest label is always true, and labels come in the order of their time.
    standing = dict(zip(labels.transaction_id, labels.fraud.tolist(), strict=True))
    fraud = np.array([standing.get(name, False) for name in batch.transaction_id], np.bool_)
    return History(batch, fraud, labels)


def read(path: Path, rows: int) -> History:
    """The first rows of a file with a column `fraud`; every label comes the same delay late.

    Raises `readers.UnreadableFile` and NoLabels.
    """
    parts: list[tuple[Batch, Bools]] = []
    for chunk in TransactionFile(path).chunks():
        if chunk.fraud is None:
            raise NoLabels(f"{path.name} has no column fraud, which says what a label would say")
        parts.append((chunk.rows, chunk.fraud))
        if sum(len(batch) for batch, _ in parts) >= rows:
            break
    batch = Batch.concat([batch for batch, _ in parts])
    fraud = np.concatenate([fraud for _, fraud in parts])
    order = np.argsort(batch.event_time[:rows], kind="stable")
    batch, fraud = batch.take(order), fraud[order]
    return History(batch, fraud, late_labels(batch, fraud))


def late_labels(batch: Batch, fraud: Bools) -> Labels:
    """A chargeback for each fraud, `DELAY` after its payment."""
    told = batch.take(fraud)
    count = len(told)
    return Labels(
        told.transaction_id,
        told.event_time + DELAY,
        np.ones(count, np.bool_),
        texts(["chargeback"] * count),
        nothing(count),
    )


def an_hour(event_time: Ints) -> float:
    """Payments an hour of event time, of payments in their order."""
    return len(event_time) * HOUR / max(int(event_time[-1] - event_time[0]), 1)

"""Payments, labels and runs for the tests of the dataflow."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from dataflows import sealed
from dataflows.runner import Run
from models.features import WIDTH
from tidegate import simulate
from tidegate.schema import (
    DAY,
    SECOND,
    Batch,
    DeadLetters,
    Decision,
    Decisions,
    Labels,
    Served,
    nothing,
    texts,
)
from tidegate.simulation.files import appearing
from tidegate.simulation.world import PAYMENTS_A_DAY

START = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z, a Thursday

Row = tuple[Any, ...]


def payments(
    ids: Sequence[str],
    at: Sequence[int],
    *,
    cards: Sequence[str] | None = None,
    terminals: Sequence[str] | None = None,
    amounts: Sequence[int] | None = None,
) -> Batch:
    """Payments of these ids at these times, all of one card and terminal unless told."""
    rows = len(ids)
    return Batch(
        transaction_id=texts(ids),
        event_time=np.array(at, np.int64),
        amount_minor=np.array(amounts or [1_000] * rows, np.int64),
        currency=texts(["EUR"] * rows),
        card_token=texts(cards or ["card"] * rows),
        terminal_id=texts(terminals or ["terminal"] * rows),
        content=np.arange(rows, dtype=np.uint64),
    )


def labels(rows: Sequence[tuple[str, int, bool]], source: str = "chargeback") -> Labels:
    """Labels of (transaction id, known at, fraud)."""
    ids, at, fraud = zip(*rows, strict=True) if rows else ((), (), ())
    return Labels(
        texts(ids),
        np.array(at, np.int64),
        np.array(fraud, np.bool_),
        texts([source] * len(rows)),
        nothing(len(rows)),
    )


def decided(
    batch: Batch,
    *,
    width: int = WIDTH,
    log_odds: int = 0,
    stream_time: int = 0,
    declined: int = 0,
) -> Decisions:
    """The payments; the first so many declined, the others approved."""
    rows = len(batch)
    decision = np.full(rows, Decision.APPROVE, np.int8)
    decision[:declined] = Decision.DECLINE
    return Decisions(
        batch=batch,
        features=np.zeros((rows, width), np.float32),
        log_odds=np.full(rows, log_odds, np.int64),
        score=np.full(rows, 0.5),
        decision=decision,
        propensity=np.ones(rows, np.float32),
        reasons=texts([[] for _ in range(rows)]),
        scored_at=START,
        stream_time=stream_time,
        model_version="m1",
        policy_version="p1",
    )


def dead(number: int) -> DeadLetters:
    """The letter of one message, which stood at this offset."""
    return DeadLetters(
        topic=texts(["transactions"]),
        partition=np.array([0]),
        offset=np.array([number]),
        at=np.array([START]),
        reason=texts(["not_json"]),
        field=texts([None]),
        detail=texts(["the message is not JSON"]),
        payload=texts(["{"]),
    )


def served(batch: Batch) -> Served:
    """The payments as they are read back."""
    zeros = np.zeros(len(batch), np.int64)
    features = np.zeros((len(batch), WIDTH), np.float32)
    return Served(
        batch.transaction_id,
        batch.event_time,
        batch.card_token,
        batch.terminal_id,
        features,
        zeros,
        zeros,
        np.zeros(len(batch), np.bool_),
        np.ones(len(batch), np.float32),
    )


def write(
    directory: Path, batch: Batch, told: Labels, format: str = "parquet"
) -> tuple[Path, Path]:
    """The payments and labels as files."""
    paths = directory / f"transactions.{format}", directory / f"labels.{format}"
    with appearing(*paths, format) as files:
        files.write(batch, told)
    return paths


def simulated(rows: int, days: int, seed: int) -> tuple[Batch, Labels]:
    """Simulated payments, exactly so many, and the labels of those."""
    customers = round(rows / (days * PAYMENTS_A_DAY) * 1.1) + 10
    batch, told = simulate.simulate(customers, max(40, customers // 4), days, seed)
    assert len(batch) >= rows
    batch = batch.take(np.arange(rows))
    paid = set(batch.transaction_id.tolist())
    return batch, told.take(np.array([name in paid for name in told.transaction_id], np.bool_))


def frauds(told: Labels) -> set[str]:
    """The transactions whose newest label says fraud."""
    order = np.argsort(told.labelled_at, kind="stable")
    standing = dict(zip(told.transaction_id[order], told.fraud[order].tolist(), strict=True))
    return {name for name, fraud in standing.items() if fraud}


def late_labels(batch: Batch, fraud: set[str], days: float) -> Labels:
    """One label for each fraud, exactly so many days after its payment."""
    rows = [
        (name, at + round(days * DAY), True)
        for name, at in zip(batch.transaction_id, batch.event_time.tolist(), strict=True)
        if name in fraud
    ]
    return labels(sorted(rows, key=lambda row: row[1]))


def write_history(path: Path, transactions: Path, fraud: set[str]) -> Path:
    """A Parquet file of transactions with a column `fraud`."""
    table = pq.read_table(transactions)
    says = pa.array([name in fraud for name in table["transaction_id"].to_pylist()])
    pq.write_table(table.append_column("fraud", says), path)
    return path


def a_run(database: str, recovery: Path, paths: tuple[Path, Path], **changes: Any) -> Run:
    """A run over the two files, with snapshots as often as can be."""
    given: dict[str, Any] = {"snapshot_seconds": 0.3, "maturity_days": 2.0, **changes}
    return Run(database, str(recovery), (str(paths[0]),), str(paths[1]), **given)


SCORES = """
SELECT transaction_id, event_time, card_token, terminal_id, amount_minor, currency, merchant_id,
       customer_id, channel, details, score, log_odds, decision, model_version, policy_version,
       features, reasons, stream_time
FROM score ORDER BY event_time, transaction_id COLLATE "C"
"""

ALERTS = """
SELECT transaction_id, alert_id, event_time, score, decision, reasons, model_version, amount_minor
FROM alert ORDER BY event_time, transaction_id COLLATE "C"
"""

# What must be equal however often a run was interrupted, and on any number of workers: everything
# but the moments of the wall clock.
STORED = {
    "score": SCORES,
    "alert": ALERTS,
    "label": """SELECT transaction_id, labelled_at, source, fraud, reason FROM label
        ORDER BY 1, 2, 3""",
    "dead_letter": """SELECT topic, partition, "offset", at, reason, field, detail, payload
        FROM dead_letter ORDER BY 1, 2, 3""",
    "model_version": """SELECT version, name, stream_time, content, examples, frauds
        FROM model_version ORDER BY 1""",
    "model_metric": "SELECT name, metric, at, value, examples FROM model_metric ORDER BY 1, 2, 3",
}


def stored(database: str) -> dict[str, list[Row]]:
    """Everything that a run stored."""
    with psycopg.connect(database) as conn:
        return {name: conn.execute(query.encode()).fetchall() for name, query in STORED.items()}


def query(database: str, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
    """The rows that a statement gives."""
    with psycopg.connect(database) as conn:
        return conn.execute(statement.encode(), parameters).fetchall()


def remembered(recovery: Path) -> Mapping[tuple[str, str], Any]:
    """The newest snapshot of every step and key in a recovery store: profiles, models, places."""
    newest: dict[tuple[str, str], tuple[int, Any]] = {}
    for part in recovery.glob("part-*.sqlite3"):
        with closing(sqlite3.connect(f"file:{part}?mode=ro", uri=True)) as store:
            rows = store.execute("SELECT step_id, state_key, snap_epoch, ser_change FROM snaps")
            for step, key, epoch, change in rows:
                if change is not None and epoch >= newest.get((step, key), (-1, None))[0]:
                    newest[step, key] = epoch, pickle.loads(change)
    return {name: opened_state(state) for name, (_, state) in newest.items()}


def opened_state(state: bytes) -> Any:
    """The value of a small state; arrays stay bytes."""
    head, _, content = state.partition(b"\n")
    return msgspec.msgpack.decode(content) if head.startswith(sealed.MAGIC) else state

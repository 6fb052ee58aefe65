"""Payments change while the flow runs: when is it told, what does it cost, is it made good again?

Why: labels are a week late, so a week of any new fraud is lost; after that the model should find
it, and somebody should have been told. Beside it stands a model that has learned the same up to the
change and nothing since.

The change comes four weeks before the end. New fraud: half of the night payments of at most 6.00
become fraud. Amounts: all are 1.6 times as large. Labels stop: no fraud is told of any more. Labels
late: frauds are told after 14 days instead of 7, when their payments have counted as genuine for a
week.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.given import Given
from bench.history import DELAY, DELAY_DAYS, History, late_labels, read
from bench.prequential import Scores, by_hour, precision_of
from bench.report import Figure, Report, figure, say
from bench.served import rows_of
from dataflows.engine import execute
from dataflows.feedback import LabelBook
from dataflows.files import FileSource, Input, open_files
from dataflows.memory import MemoryStore
from dataflows.messages import Outcome
from dataflows.routes import Routes
from dataflows.scoring import Plan, build
from dataflows.sink import OutcomeSink
from dataflows.store import partitions
from models.champion import Champion
from models.policy import Policy
from models.watch import DRIFT
from tidegate import simulate
from tidegate.schema import DAY, HOUR, Bools, Decisions, Features, Ints, Metric

DAYS = 112  # where payments are simulated
_AFTER = 28 * DAY
_SEED = 11


def bench(given: Given) -> Report:
    """Precision over the four weeks of each change, beside a model that stopped learning, and what
    was told how many days after it; before it, everything told is a false alarm."""
    if given.data is None:
        say("  simulating 112 days")
        history = _simulated(given.part(1_600, 400))
    else:
        history = read(given.data, given.rows or 10_000_000)
    at = int(history.batch.event_time.max()) // DAY * DAY - _AFTER + DAY
    figures: list[Figure] = []
    notes: list[str] = []
    for name, change in CHANGES.items():
        say(f"  {name}")
        changed = change(history, at)
        with TemporaryDirectory(dir=given.directory) as directory:
            parts, told = flow(changed, Path(directory))
        figures += _precision(name, parts, changed, at)
        early, late = [m for m in told if m.at < at], [m for m in told if m.at >= at]
        figures.append(figure(f"{name}: false alarms", [float(len(early))], "before the change"))
        first = [(m.at - at) / DAY for m in late]
        if first:
            figures.append(figure(f"{name}: first alarm", [min(first)], "days after the change"))
        said = ", ".join(
            f"{m.metric.removeprefix(DRIFT)} {(m.at - at) / DAY:.0f} d ({m.value:.2f})"
            for m in late
        )
        notes.append(f"{name}: {said or 'nothing told'}")
    rows = len(history.batch)
    span = (int(history.batch.event_time.max()) - int(history.batch.event_time.min())) / DAY
    notes.append(
        f"{rows:,} payments of {span:.0f} days; labels 7 days late, and so is what is told"
    )
    return Report("drift", rows, 1, figures, notes)


def _nothing(history: History, at: int) -> History:
    return history


def _new_fraud(history: History, at: int) -> History:
    batch = history.batch
    small = (batch.event_time // HOUR % 24 < 6) & (batch.amount_minor <= 600)
    chosen = np.random.default_rng(_SEED).random(len(batch)) < 0.5
    fraud = history.fraud | (small & chosen & (batch.event_time >= at))
    return replace(history, fraud=fraud, labels=late_labels(batch, fraud))


def _amounts(history: History, at: int) -> History:
    later = history.batch.event_time >= at
    larger = np.where(later, history.batch.amount_minor * 8 // 5, history.batch.amount_minor)
    return replace(history, batch=replace(history.batch, amount_minor=larger))


def _no_labels(history: History, at: int) -> History:
    known = history.labels.labelled_at - DELAY < at
    return replace(history, labels=history.labels.take(known))


def _late_labels(history: History, at: int) -> History:
    labelled = history.labels.labelled_at
    later = np.where(labelled - DELAY >= at, labelled + DELAY, labelled)
    return replace(history, labels=replace(history.labels, labelled_at=later))


CHANGES: dict[str, Callable[[History, int], History]] = {
    "no change": _nothing,
    "new fraud": _new_fraud,
    "amounts": _amounts,
    "labels stop": _no_labels,
    "labels late": _late_labels,
}


class _Store(MemoryStore):
    """Keeps the metrics of outcomes, too."""

    def __init__(self, keep: int, on_decisions: Callable[[Decisions], None]) -> None:
        super().__init__(partitions(Routes(1).keys), keep, on_decisions)
        self.metrics: list[Metric] = []

    def write(self, partition: str, outcomes: list[Outcome]) -> None:
        super().write(partition, outcomes)
        self.metrics += [metric for outcome in outcomes for metric in outcome.metrics]


def flow(history: History, directory: Path) -> tuple[list[Decisions], list[Metric]]:
    """What the flow decides on the history in memory, and what it tells of drift."""
    parts: list[Decisions] = []
    store = _Store(3 * DELAY, parts.append)
    files = open_files([history.write_labelled(directory)], None)
    given = Input(files, LabelBook(history.labels), None, DELAY, drain=False)
    source = FileSource(given, store, threading.Event())
    plan = Plan(1, Policy(), DELAY_DAYS)
    execute(build(source, OutcomeSink(Routes(1).keys, store), plan))
    return parts, [metric for metric in store.metrics if metric.metric.startswith(DRIFT)]


def _precision(name: str, parts: list[Decisions], history: History, at: int) -> Iterator[Figure]:
    rows = rows_of(parts, history)
    order = np.argsort(np.concatenate([part.batch.event_time for part in parts]), kind="stable")
    odds = np.concatenate([part.log_odds for part in parts])[order]
    after = rows.event_time >= at
    before = ~after & (rows.event_time >= at - _AFTER)
    value = precision_of(odds[after].astype(np.float64), rows.fraud[after])
    stopped = frozen(rows.features, rows.event_time, rows.fraud, at)
    still = precision_of(stopped[after], rows.fraud[after])
    was = precision_of(odds[before].astype(np.float64), rows.fraud[before])
    yield figure(f"{name}: average precision, 4 weeks", [value], "", value / was, "4 weeks before")
    yield figure(f"{name}: the same, learning stopped", [still], "", still / value, "the one above")
    last = rows.event_time >= at + _AFTER - 7 * DAY
    recent = precision_of(odds[last].astype(np.float64), rows.fraud[last])
    yield figure(f"{name}: the last week of them", [recent], "", recent / was, "4 weeks before")


def frozen(features: Features, event_time: Ints, fraud: Bools, at: int) -> Scores:
    """Log-odds of a champion that learns nothing from the change on."""
    model, scores = Champion(), np.zeros(len(event_time))
    for start, stop, learning in by_hour(event_time):
        part = slice(start, stop)
        if not learning:
            scores[part] = model.publish().log_odds(features[part])
        elif event_time[start] + DELAY < at:
            picked = model.indices(features[part])
            model.learn_rows(picked, fraud[part], np.ones(stop - start, np.float32))
    return scores


def _simulated(customers: int) -> History:
    batch, labels = simulate.simulate(customers, max(40, customers // 3), DAYS, _SEED)
    bad = set(labels.transaction_id[labels.fraud].tolist())
    fraud = np.array([name in bad for name in batch.transaction_id], np.bool_)
    return History(batch, fraud, late_labels(batch, fraud))

"""The whole flow in memory beside a River pipeline that is handed ready-made features.

Why: scoring a payment here means reading it from a file, checking it, drawing the features of its
card and terminal, scoring, deciding, explaining, learning when its label is due, and publishing
versions. The peer does only the last of a pipeline's steps: predict, and later learn, with River's
scaler and logistic regression in a bare loop over dictionaries of the same features. A ratio above
1 says that the flow as a whole takes more rows a second than that loop.

Labels of the last seven days never become known, so neither learns from those rows; what the loop
would manage if it learned from every row is computed from its times for learning and for scoring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.contenders import OneByOne, scaled_regression
from bench.given import Given
from bench.history import DELAY, DELAY_DAYS, an_hour
from bench.prequential import by_hour, precision_of, trial
from bench.report import Report, figure
from bench.rounds import Spent, in_turn, times
from bench.served import Rows
from dataflows.evaluate import Scored, evaluate

_ROUNDS = 3
_OURS, _PEER = "whole flow", "scaler | regression in a loop"
_ALL = "the loop, learning every row"


def bench(given: Given) -> Report:
    """Rows a second and CPU time a row of both, and their average precision."""
    rounds = given.rounds(_ROUNDS)
    size = given.size(200_000, 30_000)
    rows = given.served(size)
    with TemporaryDirectory(dir=given.directory) as directory:
        path = given.history(size).write_labelled(Path(directory))
        contenders = {_OURS: partial(_flow, path), _PEER: partial(_loop, rows)}
        found = in_turn(contenders, rounds)
    ours, peer = found[_OURS], found[_PEER]
    rates = [one.rate for one in ours], [one.rate for one in peer]
    cpu = [one.cpu for one in ours], [one.cpu for one in peer]
    every = [one.every for one in peer]
    precision = [one.precision for one in ours], [one.precision for one in peer]
    ratio = times(*rates)
    figures = [
        figure(_OURS, rates[0], "rows a second", ratio, _PEER),
        figure(_OURS, rates[0], "rows a second", times(rates[0], every), _ALL),
        figure(_PEER, rates[1], "rows a second"),
        figure(_ALL, every, "rows a second"),
        figure(_OURS, cpu[0], "µs CPU a row", times(*cpu), _PEER),
        figure(_PEER, cpu[1], "µs CPU a row"),
        figure(f"{_OURS}: avg precision", precision[0], ""),
        figure(f"{_PEER}: avg precision", precision[1], ""),
    ]
    notes = [
        f"the whole flow {_verdict(*rates)} the pipeline manages in its bare loop, whose "
        "dictionaries are made beforehand and not counted",
        f"{len(rows):,} rows, {an_hour(rows.event_time):.0f} an hour of event time: feedback, a "
        "version and a step cost the same however few rows an hour has, so a denser stream is "
        "faster",
    ]
    return Report("evaluate", len(rows), rounds, figures, notes)


def _verdict(ours: Sequence[float], peer: Sequence[float]) -> str:
    ratios = [a / b for a, b in zip(ours, peer, strict=True)]
    if min(ratios) > 1:
        return "scores more than"
    if max(ratios) < 1:
        return "does NOT score more than"
    return "scores in some rounds more and in others less than"


@dataclass(frozen=True)
class _Round:
    rate: float  # rows a second by the clock
    every: float  # the same if every row were learned from
    cpu: float  # microseconds a row
    precision: float


def _flow(path: Path) -> _Round:
    spent = Spent()
    with spent:
        scored = evaluate([path], delay_days=DELAY_DAYS)
    rows = len(scored.score)
    rate = rows / spent.clock
    return _Round(rate, rate, 1e6 * spent.cpu / rows, _after_first_labels(scored))


def _loop(rows: Rows) -> _Round:
    done = trial(OneByOne(scaled_regression()), rows, by_hour)
    learned = (done.learn.clock + done.publish.clock) / max(done.learned, 1)
    every = 1 / (learned + done.predict.clock / done.predicted)
    return _Round(len(rows) / done.clock, every, 1e6 * done.cpu / len(rows), done.precision)


def _after_first_labels(scored: Scored) -> float:
    first = int(scored.event_time.min()) + DELAY
    told = scored.event_time >= first
    return precision_of(scored.score[told], scored.fraud[told])

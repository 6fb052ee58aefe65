"""The champion's learning and scoring beside River's own models on the same served features.

Why: the champion is a River estimator that works on arrays; this says what that buys, in time and
in average precision, against the models that River gives away. All are tested first and learn
later, with the same delay (`bench.prequential`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from bench.contenders import (
    InBatches,
    OneByOne,
    OurChampion,
    bagged_trees,
    hoeffding_tree,
    scaled_regression,
)
from bench.given import Given
from bench.prequential import BLOCK, Batch, Model, Trial, by_hour, in_blocks, trial
from bench.report import Figure, Report, figure
from bench.rounds import in_turn, times
from bench.served import Rows
from tidegate.schema import Ints

CHAMPION = "champion"
_ROUNDS = 3
_SLOW = "leveraging bagging"

_MODELS: dict[str, Callable[[], Model]] = {
    CHAMPION: OurChampion,
    "scaler | regression": lambda: OneByOne(scaled_regression()),
    "the same in mini-batches": lambda: InBatches(scaled_regression()),
    "Hoeffding tree": lambda: OneByOne(hoeffding_tree()),
}
_SLOW_MODELS: dict[str, Callable[[], Model]] = {
    CHAMPION: OurChampion,
    _SLOW: lambda: OneByOne(bagged_trees()),
}


def bench(given: Given) -> Report:
    """Precision on all rows, times on fewer; both on fewer still for the slowest, with the champion
    beside it."""
    served = given.served(given.size(200_000, 30_000))
    rows = served.thinned(given.part(20_000, 10_000))
    few = served.thinned(given.part(10_000, 5_000))
    rounds = given.rounds(_ROUNDS)
    found = _tried(_MODELS, rows, in_blocks, rounds)
    whole = {name: one[0].precision for name, one in _tried(_MODELS, served, by_hour, 1).items()}
    slow = _tried(_SLOW_MODELS, few, in_blocks, 1)
    figures = _champion(found[CHAMPION])
    figures.append(_precision(CHAMPION, whole[CHAMPION]))
    for name in found:
        if name != CHAMPION:
            figures += _peer(name, found[name], found[CHAMPION], CHAMPION)
            figures.append(_precision(name, whole[name], whole[CHAMPION], CHAMPION))
    same = f"{CHAMPION}, these {len(few):,} rows"
    figures += _peer(_SLOW, slow[_SLOW], slow[CHAMPION], same)
    less = slow[_SLOW][0].precision, slow[CHAMPION][0].precision
    figures.append(_precision(_SLOW, *less, same))
    notes = [
        f"{len(served):,} rows with {int(served.fraud.sum()):,} frauds, labels 7 days late: "
        f"precision in the flow's hourly batches; times in whole blocks of {BLOCK}, on "
        f"{len(rows):,} of them, evenly over time",
        f"{_SLOW} once, on {len(few):,} of them: too few for any model to learn much, so its "
        "precision compares with the champion's on the same rows only",
        "learning and scoring count what a publication costs, spread over the rows it followed",
    ]
    return Report("learn_predict", len(rows), rounds, figures, notes)


def _tried(
    models: dict[str, Callable[[], Model]],
    rows: Rows,
    batches: Callable[[Ints], Iterator[Batch]],
    rounds: int,
) -> dict[str, list[Trial]]:
    def once(make: Callable[[], Model]) -> Trial:
        return trial(make(), rows, batches)

    return in_turn({name: partial(once, make) for name, make in models.items()}, rounds)


def _champion(trials: Sequence[Trial]) -> list[Figure]:
    publish = [1e6 * t.publish.cpu / max(t.published, 1) for t in trials]
    return [
        figure(f"{CHAMPION}: learn", _learning(trials), "µs CPU a row"),
        figure(f"{CHAMPION}: score", _scoring(trials), "µs CPU a row"),
        figure(f"{CHAMPION}: publish", publish, "µs CPU a version"),
        figure(f"{CHAMPION}: learn and score", [t.row for t in trials], "µs CPU a row"),
    ]


def _peer(name: str, trials: Sequence[Trial], ours: Sequence[Trial], beside: str) -> list[Figure]:
    both, our_both = [t.row for t in trials], [t.row for t in ours]
    learn, score = _learning(trials), _scoring(trials)
    return [
        figure(f"{name}: learn", learn, "µs CPU a row", times(learn, _learning(ours)), beside),
        figure(f"{name}: score", score, "µs CPU a row", times(score, _scoring(ours)), beside),
        figure(f"{name}: learn and score", both, "µs CPU a row", times(both, our_both), beside),
    ]


def _precision(name: str, value: float, ours: float | None = None, beside: str = "") -> Figure:
    what = f"{name}: avg precision"
    return figure(what, [value], "", value / ours, beside) if ours else figure(what, [value], "")


def _learning(trials: Sequence[Trial]) -> list[float]:
    return [1e6 * t.learn.cpu / max(t.learned, 1) for t in trials]


def _scoring(trials: Sequence[Trial]) -> list[float]:
    return [1e6 * t.predict.cpu / t.predicted for t in trials]

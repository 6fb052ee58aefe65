"""The challengers, of which a setting switches some on: they learn beside the champion.

Additive models are published as whole-number weights, so they can serve: any of them can be
promoted. The others are River's own and are there to compare with. They learn from the sample
alone (`models.sampling`), and one that takes more time or room than its cap is suspended.

The caps are about three times what was measured on a 2-core machine (docs/models.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from river import anomaly, compose, ensemble, forest, linear_model, optim, preprocessing, tree

from models.bins import BOOK
from models.features import NAMES
from models.learner import Additive
from models.outside import Outside

Challenger = Additive | Outside


# What trees are given: all features cost them three times as much and tell no more.
_TELLING = (
    *("amount", "hour", "card_count_1d", "card_ratio_7d", "card_ratio_30d", "card_deviation"),
    *("card_idle_seconds", "card_new_terminal", "card_frauds_30d", "card_fraud_age_days"),
    *("card_unusual_7d", "card_unusual_age_days", "terminal_count_1d", "terminal_share_1d"),
    *("terminal_share_7d", "terminal_share_30d", "terminal_frauds_7d", "terminal_fraud_age_days"),
)


def _logistic() -> compose.Pipeline:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.01))


def _bagging() -> ensemble.LeveragingBaggingClassifier:
    trees = tree.HoeffdingTreeClassifier(max_depth=6, grace_period=100, delta=1e-4)
    return ensemble.LeveragingBaggingClassifier(trees, n_models=3, w=3, seed=7)


def _forest() -> forest.ARFClassifier:
    return forest.ARFClassifier(n_models=10, max_depth=6, leaf_prediction="mc", seed=7)


def _mondrian() -> forest.AMFClassifier:
    return forest.AMFClassifier(n_estimators=5, max_nodes=2000, seed=7)


def _half_space() -> compose.Pipeline:
    return preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(n_trees=10, height=8, seed=7)


HANDBOOK = Additive("book", "the champion with the handbook's fifteen features", bins=BOOK)

CHALLENGERS: tuple[Challenger, ...] = (
    Additive("quick", "the champion with larger steps", rate=0.1),
    HANDBOOK,
    Outside("logistic", "scaled logistic regression", _logistic, NAMES, 400, 1),
    Outside("bagging", "leveraging bagging of Hoeffding trees", _bagging, _TELLING, 2000, 16),
    Outside("forest", "adaptive random forest", _forest, _TELLING, 2000, 16),
    Outside("mondrian", "Mondrian forest of bounded trees", _mondrian, _TELLING, 2000, 16),
    Outside("half-space", "half-space trees, which need no label", _half_space, _TELLING, 400, 2),
)


ALL = "all"


def challengers(names: Sequence[str]) -> tuple[Challenger, ...]:
    """The challengers of these names; `ALL` names them all. Raises ValueError for a name that is
    nobody's."""
    if ALL in names:
        return CHALLENGERS
    known = {challenger.name: challenger for challenger in CHALLENGERS}
    for name in names:
        if name not in known:
            raise ValueError(f"names {name!r}: {', '.join(known)} or {ALL} is allowed")
    return tuple(known[name] for name in names)

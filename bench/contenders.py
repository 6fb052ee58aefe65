"""The models that are compared: the champion as the flow uses it, and River's own as they come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from river import base, compose, ensemble, linear_model, preprocessing, tree

from bench.prequential import Scores
from models.champion import Champion, served_probability
from models.features import NAMES
from models.published import Published
from tidegate.schema import Bools, Features

Dicts = list[dict[str, float]]


class OurChampion:
    """Arrays in, fixed-point scores of the published version out."""

    def __init__(self) -> None:
        self._model = Champion()
        self._published = self._model.publish()

    def prepare(self, features: Features) -> Features:
        """Arrays are what it takes."""
        return features

    def learn(self, block: Features, fraud: Bools) -> None:
        """One step for the block."""
        weight = np.ones(len(fraud), np.float32)
        self._model.learn_rows(self._model.indices(block), fraud, weight)

    def publish(self) -> None:
        """A version as a scoring shard gets it: packed, hashed, and read back."""
        self._published = Published.load(self._model.publish().content)

    def predict(self, block: Features) -> Scores:
        """Probabilities from summed whole numbers."""
        return served_probability(self._published.log_odds(block))


class OneByOne:
    """A River model in the loop of its documentation, on dictionaries made beforehand."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def prepare(self, features: Features) -> Dicts:
        """A dictionary a row."""
        return [dict(zip(NAMES, row, strict=True)) for row in features.tolist()]

    def learn(self, block: Dicts, fraud: Bools) -> None:
        """Row by row."""
        learn = self._model.learn_one
        for x, y in zip(block, fraud.tolist(), strict=True):
            learn(x, y)

    def publish(self) -> None:
        """What it learned is what it scores with."""

    def predict(self, block: Dicts) -> Scores:
        """Row by row."""
        predict = self._model.predict_proba_one
        return np.array([predict(x).get(True, 0.0) for x in block])


class InBatches:
    """A River model that takes mini-batches, on Arrow tables made beforehand: here they took it
    16 µs a row, pandas' frames 28."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def prepare(self, features: Features) -> pa.Table:
        """A column a feature."""
        columns = np.ascontiguousarray(features.T.astype(np.float64))
        return pa.table(dict(zip(NAMES, columns, strict=True)))

    def learn(self, block: pa.Table, fraud: Bools) -> None:
        """All rows at once."""
        self._model.learn_many(block, pa.chunked_array([pa.array(fraud)]))

    def publish(self) -> None:
        """What it learned is what it scores with."""

    def predict(self, block: pa.Table) -> Scores:
        """All rows at once; 0 before it has learned anything, when there is no class to name."""
        found = self._model.predict_proba_many(block)
        if "True" not in found.column_names:
            return np.zeros(len(block))
        return np.asarray(found["True"], np.float64)


def scaled_regression() -> compose.Pipeline:
    """The pipeline that River's documentation begins with."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def hoeffding_tree() -> base.Classifier:
    """A tree with majority-class leaves: in half the time of River's default ones, and at least as
    precise on both simulated and handbook data."""
    return tree.HoeffdingTreeClassifier(leaf_prediction="mc")


def bagged_trees() -> base.Classifier:
    """Five trees whose depth is capped, with leveraging bagging."""
    leaf = tree.HoeffdingTreeClassifier(leaf_prediction="mc", max_depth=8)
    return ensemble.LeveragingBaggingClassifier(leaf, n_models=5, seed=1)

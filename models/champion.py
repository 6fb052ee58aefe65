"""The champion: an additive logistic model on fixed bins with pairwise crosses, learned online.

AdaGrad (Duchi, Hazan, Singer, JMLR 12, 2011) scales the step of every weight by its own past
gradients, so that a bin seen once a week learns as fast as one seen every second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from river import base
from river.utils.dataframe import into_frame, into_series, to_native_frame

from models.bins import DEFAULT, Bins
from models.layout import Indices, layout_of, spread, total
from models.portable import BadState, pack, unpack
from models.prior import BELIEFS, Belief, first_weights
from models.published import ONE, Published, encoded
from tidegate.schema import Bools, Features, Ints

if TYPE_CHECKING:
    from narwhals.stable.v2.typing import IntoDataFrame, IntoSeries

VERSION = 1

# Where AdaGrad's sums start. A row moves hundreds of weights at once, so small first steps are what
# keeps the first frauds from outweighing everything (measured: docs/decisions/0005-champion.md).
_FIRST_SQUARE = 10.0
_QUICKER = 0.25  # what is left of the sums when the model errs more than it did
_FADING = 400.0  # frauds after which 1/e is left of what was believed before


class Champion(base.MiniBatchClassifier):
    """Binary classifier with one weight a bin of each feature and of each pair of features.

    Features that are not among the bins are ignored; a missing one adds nothing. `learn_many` takes
    one step for the sum of the rows' gradients, as mini-batch gradient descent does, so a batch
    of one is `learn_one` to the bit and a larger one is close to a loop.

    Parameters
    ----------
    bins
        Where features are cut, and which cuts are crossed with those of other features.
    rate
        AdaGrad's learning rate.
    intercept
        Log-odds of fraud of a payment that nothing speaks against; -6 is a share of 0.25 %.
    beliefs
        What is believed before anything was learned: the weights' first values, which fade as
        frauds are learned from.
    """

    def __init__(
        self,
        bins: tuple[Bins, ...] = DEFAULT,
        rate: float = 0.05,
        intercept: float = -6.0,
        beliefs: tuple[Belief, ...] = BELIEFS,
    ) -> None:
        self.bins = bins
        self.rate = rate
        self.intercept = intercept
        self.beliefs = beliefs
        self._layout = layout_of(bins)
        # One more than there are weights: missing values pick the last, which stays 0.
        self._beliefs = np.zeros(self._layout.weights + 1)
        first = np.concatenate([first_weights(b, beliefs) for b in bins])
        self._beliefs[: len(first)] = first
        self._weights = self._beliefs.copy()
        self._frauds = 0.0  # learned from, by their weight
        self._squares = np.full(self._layout.weights + 1, _FIRST_SQUARE)
        self._seen = np.zeros(self._layout.weights + 1)  # rows learned from, by weight picked

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        # The features of river's Phishing data, so that its checks see real bins and crosses.
        yield {
            "bins": (
                Bins("empty_server_form_handler", (0.25, 0.75), (0.5,)),
                Bins("https", (0.25, 0.75), (0.5,)),
                Bins("is_popular", (0.25, 0.75), (0.5,)),
                Bins("long_url", (0.5,)),
            ),
            "intercept": 0.0,
        }

    def _unit_test_skips(self) -> set[str]:
        # As for river's own gradient descent models: one step a batch, not one a row.
        return {"check_learn_many_matches_learn_one"}

    # River's interface: one dictionary, or one data frame of any kind river takes.

    def learn_one(self, x: Mapping[Any, Any], y: Any, w: float = 1.0) -> None:
        """Learns from one row with the weight w."""
        self.learn_rows(
            self._layout.indices(self._row(x)), np.array([bool(y)]), np.array([w], np.float32)
        )

    def predict_proba_one(self, x: Mapping[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """Probabilities of False and True."""
        p = float(self.probabilities(self._layout.indices(self._row(x)))[0])
        return {False: 1.0 - p, True: p}

    def learn_many(self, X: IntoDataFrame, y: IntoSeries, w: float = 1.0) -> None:
        """Learns from all rows in one step."""
        frame = into_frame(X)
        target = np.asarray(into_series(y).to_numpy()).astype(bool)
        self.learn_rows(
            self._layout.indices(self._matrix(frame)), target, np.full(len(target), w, np.float32)
        )

    def predict_proba_many(self, X: IntoDataFrame) -> Any:
        """A frame with a column for False and one for True, of the same kind as X."""
        frame = into_frame(X)
        p = self.probabilities(self._layout.indices(self._matrix(frame)))
        return to_native_frame({False: 1.0 - p, True: p}, like=frame)

    # The same on arrays, which is what the dataflow calls.

    def indices(self, features: Features) -> Indices:
        """What each row picks, (rows, terms); columns in the order of the bins."""
        return self._layout.indices(features)

    def learn_rows(self, picked: Indices, fraud: Bools, weight: npt.NDArray[np.float32]) -> None:
        """One step of AdaGrad for the rows' summed gradients of the log loss."""
        if not len(fraud):
            return
        gradient = (self.probabilities(picked) - fraud) * weight
        summed = spread(gradient, picked, len(self._weights))
        summed[-1] = 0.0
        self._squares += summed * summed
        self._weights -= self.rate * summed / np.sqrt(self._squares)
        self._seen += spread(weight, picked, len(self._weights))
        self._fade(float(weight[fraud].sum()))

    def _fade(self, frauds: float) -> None:
        """Takes that part of the beliefs back that so many more frauds make up for."""
        before = math.exp(-self._frauds / _FADING)
        self._frauds += frauds
        self._weights += (math.exp(-self._frauds / _FADING) - before) * self._beliefs

    def quicken(self) -> None:
        """Makes the next steps larger, as if a quarter as much had been learned: what was learned
        stays, and is overruled sooner."""
        np.maximum(self._squares * _QUICKER, _FIRST_SQUARE, out=self._squares)

    def probabilities(self, picked: Indices) -> npt.NDArray[np.float64]:
        """Probability of fraud of each row."""
        probability: npt.NDArray[np.float64] = 1.0 / (1.0 + np.exp(-self.log_odds(picked)))
        return probability

    def log_odds(self, picked: Indices) -> npt.NDArray[np.float64]:
        """Log-odds of fraud of each row."""
        log_odds: npt.NDArray[np.float64] = total(self._weights, picked) + self.intercept
        return log_odds

    def publish(self) -> Published:
        """What scores are served from: the same weights as whole numbers, and their means over
        what was learned from, which explanations are measured against."""
        weights = np.rint(self._weights[:-1] * ONE).astype(np.int64)
        starts = self._layout.starts[:-1]
        seen = np.add.reduceat(self._seen[:-1], starts)
        mean = np.add.reduceat(self._seen[:-1] * weights, starts) / np.maximum(seen, 1.0)
        return Published(
            self.bins,
            weights.clip(-(2**31), 2**31 - 1).astype(np.int32),
            np.rint(mean).astype(np.int64),
            round(self.intercept * ONE),
        )

    def dump(self) -> bytes:
        """All that was learned, portable and checksummed."""
        return pack(
            "champion",
            VERSION,
            {
                "weights": self._weights,
                "squares": self._squares,
                "seen": self._seen,
                "settings": np.array([self.rate, self.intercept, self._frauds]),
                "bins": np.frombuffer(encoded(self.bins), np.uint8),
            },
        )

    @classmethod
    def load(cls, data: bytes, bins: tuple[Bins, ...] = DEFAULT) -> Champion:
        """What `dump` wrote. Raises BadState when the bytes are damaged, or are
        of other bins."""
        arrays = unpack("champion", VERSION, data)
        rate, intercept, frauds = arrays["settings"].tolist()
        if arrays["bins"].tobytes() != encoded(bins):
            raise BadState("the saved champion was learned with other bins than these")
        champion = cls(bins, rate, intercept)
        champion._weights = arrays["weights"]
        champion._squares = arrays["squares"]
        champion._seen = arrays["seen"]
        champion._frauds = frauds
        return champion

    def _row(self, x: Mapping[Any, Any]) -> npt.NDArray[np.float32]:
        values = [x.get(name) for name in self._layout.features]
        return np.array([[np.nan if v is None else v for v in values]], np.float32)

    def _matrix(self, frame: Any) -> npt.NDArray[np.float32]:
        matrix = np.full((len(frame), len(self._layout.features)), np.nan, np.float32)
        for column, name in enumerate(self._layout.features):
            if name in frame.columns:
                matrix[:, column] = frame[name].to_numpy()
        return matrix


def served_probability(log_odds: Ints) -> npt.NDArray[np.float64]:
    """The probability that fixed-point log-odds stand for."""
    probability: npt.NDArray[np.float64] = 1.0 / (1.0 + np.exp(-(log_odds / ONE)))
    return probability

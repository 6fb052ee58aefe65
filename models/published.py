"""A published model version: whole-number weights, added up the same on every machine.

A version is its content: its id is the SHA-256 of the bytes. Log-odds are sums of integers, so a
score can be recomputed to the bit from the stored features, in any order and anywhere; the
probability is only their picture.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from models.bins import Bins
from models.features import columns_of
from models.layout import Indices, Layout, layout_of, total
from models.portable import BadState, pack, unpack
from tidegate.schema import Features, Ints

ONE = 2**20  # fixed point: this many units are 1.0 of log-odds

VERSION = 1


@dataclass(frozen=True, eq=False)
class Published:
    """Weights of a version in units of 1/ONE of log-odds, with the bins they belong to."""

    bins: tuple[Bins, ...]
    weights: npt.NDArray[np.int32]
    means: Ints  # of each term's weight, over the rows learned from
    intercept: int

    @property
    def layout(self) -> Layout:
        """How feature values pick weights."""
        return layout_of(self.bins)

    @cached_property
    def content(self) -> bytes:
        """The version as bytes; they alone are enough to score with it."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "weights": self.weights,
            "means": self.means,
            "intercept": np.array([self.intercept], np.int64),
            "bins": np.frombuffer(encoded(self.bins), np.uint8),
        }
        return pack("model-version", VERSION, arrays)

    @cached_property
    def version(self) -> str:
        """SHA-256 of the content, hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @classmethod
    def load(cls, content: bytes) -> Published:
        """A version from its content. Raises BadState when it is damaged or does not fit itself."""
        return _load(content)

    def log_odds(self, features: Features) -> Ints:
        """Log-odds of fraud in units of 1/ONE, of features (rows, features) in order of bins."""
        return self.sum(self.layout.indices(features))

    def sum(self, picked: Indices) -> Ints:
        """Log-odds of rows whose weights were picked before."""
        log_odds: Ints = total(self._padded, picked) + self.intercept
        return log_odds

    def contributions(self, picked: Indices) -> Ints:
        """What each feature adds to the log-odds beyond its mean, (rows, features), in 1/ONE.

        A cross is shared by its two features in equal parts, an odd unit going to the first, so
        that the contributions of a row add up to its log-odds less `baseline`."""
        centred = self._padded[picked].astype(np.int64) - self.means
        count = len(self.bins)
        result = centred[:, :count].copy()
        crossed = centred[:, count:]
        half = crossed // 2
        left, right = self.layout.crosses[:, 0], self.layout.crosses[:, 1]
        for number in range(count):
            result[:, number] += (crossed - half)[:, left == number].sum(axis=1)
            result[:, number] += half[:, right == number].sum(axis=1)
        return result

    @cached_property
    def columns(self) -> Ints:
        """Where its features are among `features.NAMES`, in which order decisions are served and
        stored. Raises KeyError of the first that is not there."""
        return columns_of(self.layout.features)

    @cached_property
    def _padded(self) -> npt.NDArray[np.int32]:
        """The weights, and the 0 that missing values pick."""
        return np.append(self.weights, np.int32(0))

    @property
    def baseline(self) -> int:
        """Log-odds of a payment that is average in everything, in 1/ONE."""
        return int(self.means.sum()) + self.intercept


@lru_cache(maxsize=4)  # every shard of a process loads the same version at about the same time
def _load(content: bytes) -> Published:
    arrays = unpack("model-version", VERSION, content)
    published = Published(
        _decoded(arrays["bins"].tobytes()),
        arrays["weights"],
        arrays["means"],
        int(arrays["intercept"][0]),
    )
    if len(published.weights) != published.layout.weights:
        raise BadState("model-version with another number of weights than its bins have")
    published.__dict__["content"] = content  # what the property would make again
    return published


@lru_cache(maxsize=8)
def encoded(bins: tuple[Bins, ...]) -> bytes:
    """Bins as bytes, equal for equal bins."""
    return json.dumps([[b.feature, b.fine, b.coarse] for b in bins]).encode()


@lru_cache(maxsize=8)
def _decoded(text: bytes) -> tuple[Bins, ...]:
    return tuple(Bins(name, tuple(fine), tuple(coarse)) for name, fine, coarse in json.loads(text))

"""Decisions made again from what was stored with them: features, model version, policy version.

Log-odds are sums of whole numbers and thresholds are whole numbers, so what was stored and what is
made again are equal to the last bit, whenever and on whatever machine it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from models.policy import Policy
from models.portable import BadState
from models.published import Published
from tidegate.schema import Features, Ints, ModelVersion, texts

_KEPT = 64  # versions and policies that are held at a time; 100 KB each


class CannotReplay(ValueError):
    """Something that the decision was made with is missing or damaged."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was decided, a row each."""

    log_odds: Ints  # in 1/`published.ONE`
    decision: npt.NDArray[np.int8]  # Decision


class Replayer:
    """Makes decisions again; asks for each model version and policy once.

    model, policy: give what is stored of a version, None where there is nothing.
    """

    def __init__(
        self, model: Callable[[str], ModelVersion | None], policy: Callable[[str], str | None]
    ) -> None:
        self._model = lru_cache(_KEPT)(lambda version: _model(version, model(version)))
        self._policy = lru_cache(_KEPT)(lambda version: _policy(version, policy(version)))

    def replay(
        self, model: str, policy: str, ids: Sequence[str], stored: Sequence[bytes]
    ) -> Replayed:
        """The decisions that these versions make of payments of these ids and stored features: rows
        of one length, each float32, little endian, in the order of `features.NAMES`. Raises
        CannotReplay."""
        published = self._model(model)
        columns = _columns(published)
        features: Features = np.frombuffer(b"".join(stored), "<f4").reshape(len(stored), -1)
        if columns.max(initial=-1) >= features.shape[1]:
            raise CannotReplay(
                f"{features.shape[1]} features are stored, of which model version {model} wants "
                f"number {columns.max() + 1}"
            )
        log_odds = published.log_odds(features[:, columns])
        return Replayed(log_odds, self._policy(policy).decide(log_odds, texts(ids)))


def _model(version: str, stored: ModelVersion | None) -> Published:
    if stored is None:
        raise CannotReplay(f"model version {version} is not stored")
    try:
        published = Published.load(stored.content)
    except BadState as ex:
        raise CannotReplay(f"model version {version}: {ex}") from ex
    if published.version != version:
        raise CannotReplay(f"what is stored as model version {version} is {published.version}")
    return published


def _policy(version: str, content: str | None) -> Policy:
    if content is None:
        raise CannotReplay(f"policy version {version} is not stored")
    try:
        policy = Policy.parse(content)
    except ValueError as ex:
        raise CannotReplay(f"policy version {version}: {ex}") from ex
    if policy.version != version:
        raise CannotReplay(f"what is stored as policy version {version} is {policy.version}")
    return policy


def _columns(published: Published) -> Ints:
    try:
        return published.columns
    except KeyError as ex:
        raise CannotReplay(f"this release knows no feature {ex.args[0]}") from ex

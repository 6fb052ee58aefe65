"""From scores to decisions: two thresholds, compared as whole numbers."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from models.published import ONE
from tidegate.schema import Decision, Ints


@dataclass(frozen=True)
class Policy:
    """A payment at or above a threshold is reviewed or declined.

    review, decline: probabilities, 0 < review <= decline <= 1; a decline threshold of 1 never
    declines.
    """

    review: float = 0.3
    decline: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.review <= self.decline <= 1:
            raise ValueError(
                f"thresholds must be 0 < review <= decline <= 1, not {self.review}, {self.decline}"
            )

    @cached_property
    def content(self) -> str:
        """What this policy does, as text that `parse` understands: it is stored, so that a
        decision can be made again years later."""
        return f"thresholds {float(self.review)!r} {float(self.decline)!r}"

    @cached_property
    def version(self) -> str:
        """A short name of the content: equal policies have equal names."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:16]

    @classmethod
    def parse(cls, content: str) -> Policy:
        """The policy of a content. Raises ValueError where it is none of this release."""
        match content.split():
            case ["thresholds", review, decline]:
                return cls(float(review), float(decline))
            case _:
                raise ValueError(f"not a policy that this release knows: {content!r}")

    def decide(self, log_odds: Ints) -> npt.NDArray[np.int8]:
        """A `Decision` for each row of log-odds in units of 1/ONE."""
        decision = np.full(len(log_odds), Decision.APPROVE, np.int8)
        decision[log_odds >= _units(self.review)] = Decision.REVIEW
        decision[log_odds >= _units(self.decline)] = Decision.DECLINE
        return decision


def _units(probability: float) -> int:
    if probability >= 1:
        return int(np.iinfo(np.int64).max)
    return round(math.log(probability / (1 - probability)) * ONE)

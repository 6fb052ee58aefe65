"""From scores to decisions: two thresholds, compared as whole numbers, and a control group.

A declined payment never shows whether it was fraud, so a model that is judged by what became known
is judged by what it let through (Lakkaraju et al., *The Selective Labels Problem*, KDD 2017). One
in so many of the payments that would be declined is therefore reviewed instead.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from models.published import ONE
from tidegate.schema import Decision, Ints, Texts


@dataclass(frozen=True)
class Policy:
    """A payment at or above a threshold is reviewed or declined.

    review, decline: probabilities, 0 < review <= decline <= 1; a decline threshold of 1 never
    declines. control: one in so many of those at the decline threshold is reviewed; 0 for none.
    """

    review: float = 0.3
    decline: float = 0.9
    control: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.review <= self.decline <= 1:
            raise ValueError(
                f"thresholds must be 0 < review <= decline <= 1, not {self.review}, {self.decline}"
            )
        if self.control < 0:
            raise ValueError(f"a control group is one in so many, or 0, not {self.control}")

    @cached_property
    def content(self) -> str:
        """What this policy does, as text that `parse` understands: it is stored, so that a
        decision can be made again years later."""
        content = f"thresholds {float(self.review)!r} {float(self.decline)!r}"
        return f"{content} control {self.control}" if self.control else content

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
            case ["thresholds", review, decline, "control", control]:
                return cls(float(review), float(decline), int(control))
            case _:
                raise ValueError(f"not a policy that this release knows: {content!r}")

    def decide(self, log_odds: Ints, transaction_id: Texts) -> npt.NDArray[np.int8]:
        """A `Decision` for each row of log-odds in units of 1/ONE."""
        decision = np.full(len(log_odds), Decision.APPROVE, np.int8)
        decision[log_odds >= _units(self.review)] = Decision.REVIEW
        high = np.flatnonzero(log_odds >= _units(self.decline))
        decision[high] = [
            Decision.REVIEW if self._controls(name) else Decision.DECLINE
            for name in transaction_id[high]
        ]
        return decision

    def propensity(self, log_odds: Ints) -> npt.NDArray[np.float32]:
        """The probability that a payment of these log-odds is not declined."""
        low = log_odds < _units(self.decline)
        return np.where(low, 1.0, 1 / self.control if self.control else 0.0).astype(np.float32)

    def _controls(self, transaction_id: str) -> bool:
        """By the id alone, so that a payment decided twice is decided alike."""
        if not self.control:
            return False
        digest = hashlib.blake2b(transaction_id.encode(), digest_size=8, person=b"control")
        return int.from_bytes(digest.digest(), "big") % self.control == 0


def _units(probability: float) -> int:
    if probability >= 1:
        return int(np.iinfo(np.int64).max)
    return round(math.log(probability / (1 - probability)) * ONE)

"""The profiles of cards: how this payment compares with what the card did before."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from math import ceil
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from models.features import (
    CARD,
    CARD_LATER,
    DRAWN,
    PAYMENT,
    UNUSUAL_COUNT,
    UNUSUAL_RATIO,
    USUAL_AMOUNT,
    ratio,
)
from models.profiles import Profiles
from tidegate.schema import DAY, HOUR, SECOND, Batch, Examples, Ints, Texts

REMEMBERED = 16  # last payments whose terminals a card remembers, and last unusual ones

_RATIO = (PAYMENT + CARD).index("card_ratio_30d")
_COUNT = (PAYMENT + CARD).index("card_count_30d")
_NEVER = -(2**62)

# Amounts enter the mean and spread of logarithms as the number of the 32nd of a factor of two that
# they fall into: whole numbers, so that sums do not depend on the order or the machine.
_STEPS = 32
_STEP_EDGES = np.array([ceil(2 ** (step / _STEPS)) for step in range(1, 50 * _STEPS)], np.int64)
_LEAST_SPREAD = 0.35 * _STEPS  # a quarter more or less is never unusual
_PRIOR_WEIGHT = 2.0  # payments' worth of belief in a spread of one factor of two


class CardProfiles(Profiles):
    """The cards of one shard. `observe` gives `features.PAYMENT` and `features.CARD`."""

    KIND = "card-profiles"
    EXTRA: ClassVar = (
        ("first", (), np.int64, -1),  # event time of the first payment
        ("payments", (), np.int64, 0),
        ("log_sum", (), np.int64, 0),
        ("log_squares", (), np.int64, 0),
        ("terminals", (REMEMBERED,), np.int64, 0),  # hashes
        ("terminal_times", (REMEMBERED,), np.int64, _NEVER),
        ("unusual", (), np.int64, 0),  # payments so far
        ("unusual_times", (REMEMBERED,), np.int64, _NEVER),
    )

    @classmethod
    def width(cls) -> int:
        """How many features `observe` gives."""
        return len(PAYMENT) + len(CARD) + len(CARD_LATER)

    def _names_in(self, batch: Batch) -> Texts:
        return batch.card_token

    def _labelled_names(self, examples: Examples) -> Texts:
        return examples.card_token

    def _read(
        self, entities: Ints, at: Ints, batch: Batch, amount: Ints, rows: Ints
    ) -> npt.NDArray[np.float64]:
        paid = amount[rows]
        count, total = self._rings.read(entities, at)
        hour = at // HOUR % 24
        weekday = (at // DAY + 3) % 7  # the epoch was a Thursday; Monday is 0
        first, payments = self._extra["first"][entities], self._extra["payments"][entities]
        known = payments > 0
        fraud_age, frauds = self._frauds(entities, at)
        distinct, new = self._terminals(entities, at, _hashes(batch.terminal_id[rows]))
        idle = (at - self._last[entities]) / SECOND
        columns = (
            paid,
            hour,
            weekday >= 5,
            hour < 6,
            *count.T,
            *(ratio(paid, total[:, window], count[:, window]) for window in (2, 3, 4)),
            self._deviation(entities, paid, payments),
            np.where(known, np.maximum(idle, 0), -1),
            distinct,
            new,
            np.where(known, np.maximum(at - first, 0) / DAY, -1),
            frauds,
            fraud_age,
            *self._unusual(entities, at),
            paid * (DRAWN + count[:, 4]) / (DRAWN * USUAL_AMOUNT + total[:, 4]),
        )
        return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)

    def _absorb(
        self,
        entities: Ints,
        at: Ints,
        batch: Batch,
        amount: Ints,
        rows: Ints,
        read: npt.NDArray[np.float64],
    ) -> None:
        extra = self._extra
        large = (read[:, _RATIO] > UNUSUAL_RATIO) & (read[:, _COUNT] >= UNUSUAL_COUNT)
        unusual = entities[large]
        extra["unusual_times"][unusual, extra["unusual"][unusual] % REMEMBERED] = at[large]
        extra["unusual"][unusual] += 1
        first, payments = extra["first"][entities], extra["payments"][entities]
        extra["first"][entities] = np.where(first < 0, at, np.minimum(first, at))
        step = _log_step(amount[rows])
        extra["log_sum"][entities] += step
        extra["log_squares"][entities] += step * step
        place = payments % REMEMBERED
        extra["terminals"][entities, place] = _hashes(batch.terminal_id[rows])
        extra["terminal_times"][entities, place] = at
        extra["payments"][entities] = payments + 1

    def _deviation(self, entities: Ints, paid: Ints, payments: Ints) -> npt.NDArray[np.float64]:
        """The amount in spreads from the card's mean, of logarithms; 0 for a card's first payment.

        The spread is that of the card's payments, drawn towards a factor of two while they are
        few, as a normal-inverse-gamma prior draws it."""
        count = np.maximum(payments, 1)
        mean = self._extra["log_sum"][entities] / count
        squares = self._extra["log_squares"][entities] - count * mean * mean
        prior = _PRIOR_WEIGHT * _STEPS**2
        spread = np.sqrt(np.maximum(squares + prior, 0) / (count + _PRIOR_WEIGHT))
        deviation = (_log_step(paid) - mean) / np.maximum(spread, _LEAST_SPREAD)
        return np.where(payments > 0, deviation, 0.0)

    def _terminals(self, entities: Ints, at: Ints, here: Ints) -> tuple[Ints, Ints]:
        """Distinct terminals of the last day, and whether this one is not remembered at all."""
        terminals = self._extra["terminals"][entities]
        times = self._extra["terminal_times"][entities]
        ever = times > _NEVER
        age = at[:, None] - times
        recent = ever & (age >= 0) & (age < DAY)
        # Times far apart cannot occur in `recent`, so one value may stand for all that is not.
        ordered = np.sort(np.where(recent, terminals, _NOWHERE), axis=1)
        changes = (ordered[:, 1:] != ordered[:, :-1]) & (ordered[:, 1:] != _NOWHERE)
        distinct = changes.sum(axis=1) + (ordered[:, 0] != _NOWHERE)
        seen = (ever & (terminals == here[:, None])).any(axis=1)
        return distinct, (~seen).astype(np.int64)

    def _frauds(self, entities: Ints, at: Ints) -> tuple[Ints, Ints]:
        """Days since the card's last labelled fraud (-1 for none), and frauds of 30 days."""
        age, _, frauds = self._labels.read(entities, at)
        bad = frauds > 0
        newest = np.where(bad, age, np.iinfo(np.int64).max).min(axis=1)
        count = (frauds * (age < self._maturity + 30)).sum(axis=1)
        return np.where(bad.any(axis=1), newest, -1), count

    def _unusual(
        self, entities: Ints, at: Ints
    ) -> tuple[Ints, Ints, Ints, npt.NDArray[np.float64]]:
        """Unusual payments of the last 1, 7 and 14 days, and days since the last, -1 for none."""
        times = self._extra["unusual_times"][entities]
        age = at[:, None] - times
        past = (times > _NEVER) & (age >= 0)
        one, seven, fourteen = ((past & (age < days * DAY)).sum(axis=1) for days in (1, 7, 14))
        newest = np.where(past, age, np.iinfo(np.int64).max).min(axis=1)
        return one, seven, fourteen, np.where(past.any(axis=1), newest / DAY, -1.0)


_NOWHERE = np.iinfo(np.int64).max


def _log_step(amount: Ints) -> Ints:
    """32 times the binary logarithm of the amount, rounded down; 0 for amounts of up to 1."""
    return np.searchsorted(_STEP_EDGES, amount, side="right").astype(np.int64)


def _hashes(names: Texts) -> Ints:
    return np.array([_hash(name) for name in names], np.int64)


@lru_cache(maxsize=131_072)
def _hash(name: str) -> int:
    """A 63-bit hash of the name, the same on every machine."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") >> 1

"""What becomes known of a day's payments, and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tidegate.schema import DAY, HOUR, MINUTE, Labels, Texts, texts
from tidegate.simulation.payments import Pattern, Payments, is_online
from tidegate.simulation.rolls import Floats, Integers, Part, Rolls, rolls, whole
from tidegate.simulation.world import World

ISSUER, CUSTOMER, CHARGEBACK, ANALYST = range(4)
SOURCES = ("issuer", "customer", "chargeback", "analyst")

# Who tells of a fraud, with the median delay, the spread of its logarithm, and its bounds. Half of
# the chargebacks come within 7 days and all others before, so 85 % of frauds are known by then.
_SHARES = (0.35, 0.35, 0.30)
_MEDIAN = np.array([4 * HOUR, 36 * HOUR, 7 * DAY], dtype=np.float64)
_SIGMA = np.array([0.8, 0.7, 0.6])
_LEAST = np.array([10 * MINUTE, 2 * HOUR, 1 * DAY], dtype=np.float64)
_MOST = np.array([24 * HOUR, 6.5 * DAY, 60 * DAY], dtype=np.float64)

_CLEARED_LOOK_ALIKES = 0.05  # share of look-alike payments that an analyst clears
_CLEARED = 0.0005  # share of the other genuine payments
_CLEARED_FIRST = 0.01  # share of frauds that an analyst clears before they are known
_TAKEN_BACK = 0.00005  # share of genuine payments that a customer reports and then recognises


@dataclass(frozen=True, slots=True)
class _Found:
    row: Integers
    after: Floats  # microseconds since the payment
    fraud: bool
    source: Integers
    reason: Texts


def labels(world: World, seed: int, day: int, payments: Payments, transaction_id: Texts) -> Labels:
    """All labels that the day's payments will ever get, in the order of `in_order`.

    Every fraud gets exactly one label that says so. One in a hundred was cleared by an analyst
    before; a few genuine payments are cleared, and a very few were first reported as fraud. The
    newest label is always true.
    """
    rng = rolls(seed, Part.LABELS, day)
    fraud = np.flatnonzero(payments.fraud)
    found = _frauds(world, payments, fraud, rng)
    early = np.flatnonzero(rng.random(len(fraud)) < _CLEARED_FIRST)
    cleared_at = found.after[early] * (0.1 + 0.8 * rng.random(len(early)))

    u = rng.random(len(payments))
    odd = (payments.pattern > Pattern.TRIP) & ~payments.fraud
    clear = np.flatnonzero((u < np.where(odd, _CLEARED_LOOK_ALIKES, _CLEARED)) & ~payments.fraud)
    back = np.flatnonzero((u > 1.0 - _TAKEN_BACK) & ~payments.fraud)
    reported_at = (1.0 + 4.0 * rng.random(len(back))) * DAY
    recognised_at = reported_at + (0.5 + 5.0 * rng.random(len(back))) * DAY
    clear_at = 0.5 * HOUR + rng.random(len(clear)) * 3 * DAY
    parts = [
        found,
        _one(fraud[early], cleared_at, False, ANALYST, "cleared"),
        _one(clear, clear_at, False, ANALYST, "cleared"),
        _one(back, reported_at, True, CUSTOMER, "not_recognised"),
        _one(back, recognised_at, False, ANALYST, "recognised_after_all"),
    ]
    row = np.concatenate([part.row for part in parts])
    at = payments.time[row] + whole(np.concatenate([part.after for part in parts])) // 1000 * 1000
    source = np.concatenate([part.source for part in parts])
    made = Labels(
        transaction_id=transaction_id[row],
        labelled_at=at,
        fraud=np.concatenate([np.full(len(part.row), part.fraud) for part in parts]),
        source=texts(SOURCES)[source],
        reason=np.concatenate([part.reason for part in parts]),
    )
    return in_order(made)


def _frauds(world: World, payments: Payments, fraud: Integers, rng: Rolls) -> _Found:
    n = len(fraud)
    source = np.searchsorted(np.cumsum(_SHARES)[:-1], rng.random(n), side="right")
    delay = _MEDIAN[source] * np.exp(_SIGMA[source] * rng.standard_normal(n))
    after = np.clip(delay, _LEAST[source], _MOST[source])
    absent = is_online(world, payments.terminal[fraud])
    charged = np.where(absent, "fraud_card_absent", "fraud_card_present").astype(object)
    told = np.where(source == ISSUER, "issuer_alert", "not_recognised").astype(object)
    return _Found(fraud, after, True, source, np.where(source == CHARGEBACK, charged, told))


def _one(row: Integers, after: Floats, fraud: bool, source: int, reason: str) -> _Found:
    return _Found(
        row, after, fraud, np.full(len(row), source), np.full(len(row), reason, dtype=object)
    )


def in_order(waiting: Labels) -> Labels:
    """The labels in the order of (labelled_at, transaction_id, source)."""
    ids, sources = waiting.transaction_id.astype(str), waiting.source.astype(str)
    return waiting.take(np.lexsort((sources, ids, waiting.labelled_at)))

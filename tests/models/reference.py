"""The features of cards and terminals, written to be obviously right and nothing else.

Every entity keeps the list of all its earlier rows; every feature is worked out from that list,
one row at a time, in plain Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.models.rows import Cut, Event, Known, Payment
from tidegate.schema import DAY, HOUR, MINUTE, SECOND

DECIMALS = {"EUR": 2, "USD": 2, "JPY": 0, "KWD": 3}
# Width of a bucket, how many make the window, how many are kept.
WINDOWS = (
    (2 * MINUTE, 5, 5),
    (10 * MINUTE, 6, 6),
    (2 * HOUR, 12, 12),
    (DAY, 7, 32),
    (DAY, 30, 32),
)
REMEMBERED = 16


def hundredths(payment: Payment) -> int:
    """The amount in hundredths of the major unit, cut off."""
    return payment.minor * 100 // 10 ** DECIMALS[payment.currency]


def log_step(amount: int) -> int:
    """32 times the binary logarithm, rounded down, in whole numbers: the largest s with
    2 ** s <= amount ** 32."""
    return max(0, (max(amount, 1) ** 32).bit_length() - 1)


@dataclass
class Entity:
    """All that is known of one card or one terminal."""

    rows: list[Payment] = field(default_factory=list)
    since_renewal: list[Payment] = field(default_factory=list)
    unusual: list[int] = field(default_factory=list)  # times, since the renewal
    last: int = 0
    outcomes: dict[str, tuple[int, bool]] = field(default_factory=dict)  # name: time, fraud

    def window(self, at: int, width: int, span: int, kept: int) -> tuple[int, int]:
        """How many rows and how much money the window holds at the time."""
        newest: dict[int, int] = {}
        for row in self.rows:
            bucket = row.at // width
            newest[bucket % kept] = max(newest.get(bucket % kept, bucket), bucket)
        inside = [
            hundredths(row)
            for row in self.rows
            if at // width - span < row.at // width <= at // width
            and newest[row.at // width % kept] == row.at // width
        ]
        return len(inside), sum(inside)

    def windows(self, at: int) -> tuple[list[int], list[int]]:
        """Counts and sums of all windows."""
        pairs = [self.window(at, *window) for window in WINDOWS]
        return [count for count, _ in pairs], [total for _, total in pairs]

    def labelled(self, at: int, maturity: int) -> list[tuple[int, bool]]:
        """Age in days and outcome of each payment whose outcome is known and not too old."""
        kept = maturity + 32
        newest: dict[int, int] = {}
        for time, _ in self.outcomes.values():
            day = time // DAY
            newest[day % kept] = max(newest.get(day % kept, day), day)
        return [
            (at // DAY - time // DAY, fraud)
            for time, fraud in self.outcomes.values()
            if 0 <= at // DAY - time // DAY < kept and newest[time // DAY % kept] == time // DAY
        ]


def over_mean(amount: int, total: int, count: int) -> float:
    """The amount over the mean amount, -1 where there is no mean."""
    return amount / (max(total, 1) / count) if count else -1.0


def card_features(card: Entity, row: Payment, maturity: int) -> list[float]:
    """What `features.PAYMENT`, `features.CARD` and `features.CARD_LATER` say."""
    amount, at, past = hundredths(row), row.at, card.since_renewal
    counts, sums = card.windows(at)
    hour, weekday = at // HOUR % 24, (at // DAY + 3) % 7
    deviation = 0.0
    if past:
        steps = [log_step(hundredths(p)) for p in past]
        mean = sum(steps) / len(steps)
        squares = sum(s * s for s in steps) - len(steps) * mean * mean
        spread = math.sqrt(max(squares + 2 * 32**2, 0) / (len(steps) + 2))
        deviation = (log_step(amount) - mean) / max(spread, 0.35 * 32)
    lately = past[-REMEMBERED:]
    outcomes = card.labelled(at, maturity)
    fraud_ages = [age for age, fraud in outcomes if fraud]
    unusual_ages = [at - time for time in card.unusual[-REMEMBERED:] if time <= at]
    return [
        amount,
        hour,
        weekday >= 5,
        hour < 6,
        *counts,
        *(over_mean(amount, sums[window], counts[window]) for window in (2, 3, 4)),
        deviation,
        max(0.0, (at - card.last) / SECOND) if past else -1,
        len({p.terminal for p in lately if 0 <= at - p.at < DAY}),
        row.terminal not in {p.terminal for p in lately},
        max(0.0, (at - min(p.at for p in past)) / DAY) if past else -1,
        sum(age < maturity + 30 for age in fraud_ages),
        min(fraud_ages, default=-1),
        *(sum(age < days * DAY for age in unusual_ages) for days in (1, 7, 14)),
        min(unusual_ages) / DAY if unusual_ages else -1,
        amount * (4 + counts[4]) / (4 * 5000 + sums[4]),
    ]


def is_unusual(card: Entity, row: Payment) -> bool:
    """Whether the payment is of more than three times the mean of three payments or more."""
    counts, sums = card.windows(row.at)
    return counts[4] >= 3 and over_mean(hundredths(row), sums[4], counts[4]) > 3


def terminal_features(terminal: Entity, row: Payment, maturity: int) -> list[float]:
    """What `features.TERMINAL` says."""
    counts, sums = terminal.windows(row.at)
    outcomes = terminal.labelled(row.at, maturity)
    shares, frauds, labelled = [], [], 0
    for days in (1, 7, 30):
        inside = [fraud for age, fraud in outcomes if age < maturity + days + 1]
        labelled = len(inside)
        frauds.append(sum(inside))
        shares.append(sum(inside) / labelled if labelled else -1)
    fraud_ages = [age for age, fraud in outcomes if fraud]
    newest = min(fraud_ages, default=-1)
    return [
        *counts,
        over_mean(hundredths(row), sums[4], counts[4]),
        *shares,
        *frauds,
        labelled,
        max(fraud_ages, default=-1),
        newest,
        sum(not fraud and age < newest for age, fraud in outcomes) if fraud_ages else -1,
    ]


def expected(kind: str, events: Sequence[Event], maturity: int = 7) -> np.ndarray:
    """Features of every payment of the stream, of its card or of its terminal."""
    entities: dict[str, Entity] = {}
    result = []
    for event in events:
        if isinstance(event, Payment):
            entity = entities.setdefault(getattr(event, kind), Entity())
            if event.at - entity.last > (maturity + 32) * DAY:
                entity.since_renewal, entity.unusual = [], []
            features = card_features if kind == "card" else terminal_features
            result.append(features(entity, event, maturity))
            if is_unusual(entity, event):
                entity.unusual.append(event.at)
            entity.rows.append(event)
            entity.since_renewal.append(event)
            entity.last = max(entity.last, event.at)
        elif isinstance(event, Known):
            for payment, _, fraud in event.outcomes:
                entity = entities.setdefault(getattr(payment, kind), Entity())
                entity.outcomes[payment.name] = (payment.at, fraud)
        else:
            assert isinstance(event, Cut)
    width = 24 if kind == "card" else 16
    return np.array(result, np.float64).reshape(-1, width).astype(np.float32)

"""The features a payment is scored with: their names, units and fixed order.

A value of -1 says that there is no past to speak of (no earlier payment, nothing labelled yet).
Sources: recency, frequency and amount of a card and the fraud share of a terminal are those of Le
Borgne et al., *Reproducible Machine Learning for Credit Card Fraud Detection*, ULB 2022, ch. 3;
the amount against the card's own logarithmic mean and spread is a plain z-score.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from tidegate.currencies import exponent
from tidegate.schema import Batch, Features, Ints

# Windows of the counts and means, the same for cards and terminals.
WINDOWS = ("10m", "1h", "1d", "7d", "30d")

PAYMENT = (
    "amount",  # hundredths of the currency's major unit
    "hour",  # of the day, UTC
    "weekend",  # 1 on Saturday and Sunday, UTC
    "night",  # 1 from 00:00 to 05:59 UTC
)

CARD = (
    *(f"card_count_{window}" for window in WINDOWS),  # earlier payments of the card
    "card_ratio_1d",  # amount over the card's mean amount of the window
    "card_ratio_7d",
    "card_ratio_30d",
    "card_deviation",  # amount in spreads from the card's own mean, both of the logarithm
    "card_idle_seconds",  # since the card's last payment
    "card_terminals_1d",  # distinct terminals among the card's last 16 payments, within a day
    "card_new_terminal",  # 1 when this terminal is not among them (whenever they were)
    "card_age_days",  # since the card was first seen
    "card_frauds_30d",  # labelled frauds of the card
    "card_fraud_age_days",  # since its last labelled fraud
)

TERMINAL = (
    *(f"terminal_count_{window}" for window in WINDOWS),
    "terminal_ratio_30d",  # amount over the terminal's mean amount
    "terminal_share_1d",  # frauds among labelled payments, for payments old enough to be labelled
    "terminal_share_7d",
    "terminal_share_30d",
    "terminal_frauds_1d",
    "terminal_frauds_7d",
    "terminal_frauds_30d",
    "terminal_labelled_30d",
    "terminal_episode_days",  # since the first labelled fraud that the terminal remembers
    "terminal_fraud_age_days",  # since its last labelled fraud
    "terminal_genuine_since",  # payments labelled genuine after the day of its last fraud
)

# Hundredths of the major unit: what an amount is compared with while there is no other, as if every
# card had made DRAWN payments of it.
USUAL_AMOUNT = 5_000
DRAWN = 4

# A payment is unusual for its card beyond so many times its mean of 30 days, of so many payments.
UNUSUAL_RATIO = 3.0
UNUSUAL_COUNT = 3

# Of the card too, but younger. Decisions are stored with their features in the order of NAMES, so a
# new feature goes to the end, and what was stored before it was thought of is missing it, no more.
CARD_LATER = (
    "card_unusual_1d",  # payments of the card's last day beyond UNUSUAL_RATIO times its mean
    "card_unusual_7d",
    "card_unusual_14d",
    "card_unusual_age_days",  # since its last such payment
    "card_ratio_drawn",  # amount over the card's mean of 30 days, drawn to USUAL_AMOUNT while young
)

NAMES = PAYMENT + CARD + TERMINAL + CARD_LATER
WIDTH = len(NAMES)
COLUMN = {name: column for column, name in enumerate(NAMES)}

CARD_COLUMNS = np.array([COLUMN[name] for name in PAYMENT + CARD + CARD_LATER])
TERMINAL_COLUMNS = np.array([COLUMN[name] for name in TERMINAL])


def columns_of(names: Iterable[str]) -> Ints:
    """Where these features are among `NAMES`. Raises KeyError of the first that is not."""
    return np.array([COLUMN[name] for name in names], np.int64)


def hundredths(batch: Batch) -> Ints:
    """Amounts in hundredths of the major unit, so that 5,000 yen and 50.00 euro weigh alike in
    magnitude per unit. Digits below a hundredth (KWD has three) are cut off."""
    digits = {code: exponent(code) for code in set(batch.currency.tolist())}
    if all(count == 2 for count in digits.values()):
        return batch.amount_minor
    shift = np.array([digits[code] for code in batch.currency.tolist()], np.int64) - 2
    up, down = 10 ** np.maximum(-shift, 0), 10 ** np.maximum(shift, 0)
    result: Ints = batch.amount_minor * up // down
    return result


def ratio(part: Ints, whole: Ints, count: Ints) -> npt.NDArray[np.float64]:
    """part / (whole / count), -1 where count is 0; a mean of 0 counts as one hundredth."""
    mean = np.maximum(whole, 1) / np.maximum(count, 1)
    return np.where(count > 0, part / mean, -1.0)


def empty(rows: int) -> Features:
    """Room for the features of that many rows."""
    return np.zeros((rows, WIDTH), np.float32)

"""Why a payment was not approved, in words an analyst understands.

Features that tell of the same thing are one reason: the amount against a card's mean of one, of
seven and of thirty days is one remark, not three. A reason's weight is what its features add to
the log-odds beyond what they add for an average payment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from models.features import COLUMN, NAMES, UNUSUAL_RATIO
from models.layout import Indices
from models.published import ONE, Published
from tidegate.currencies import format_amount
from tidegate.schema import Batch, Features, Texts, texts

MOST = 4  # reasons given for a decision
_LEAST = 0.05  # log-odds below which a reason is not worth a line

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Reason:
    code: str
    features: tuple[str, ...]
    text: Callable[[Values, str], str]  # of the features' values and the amount with its currency
    # Whether there is anything to tell. A clean record may add to a score, through its crosses with
    # a striking amount, but "0 of 30 payments were fraud" is no reason an analyst understands.
    applies: Callable[[Values], bool] = lambda v: True


def _count(number: float, noun: str) -> str:
    return f"{number:.0f} {noun}{'' if round(number) == 1 else 's'}"


def _card_amount(v: Values, amount: str) -> str:
    for days, window in ((30, "30d"), (7, "7d"), (1, "1d")):
        times = v[f"card_ratio_{window}"]
        if times >= 0:
            return f"{amount} is {times:.1f} times the card's mean of {_count(days, 'day')}"
    return f"{amount}, with no earlier payment of the card to compare with"


def _card_velocity(v: Values, amount: str) -> str:
    usual = v["card_count_30d"] / min(30.0, max(v["card_age_days"], 1.0))
    for key, window in (("10m", "10 minutes"), ("1h", "an hour"), ("1d", "a day")):
        count = v[f"card_count_{key}"] + 1
        if count > 1:
            return f"{_count(count, 'payment')} of the card in {window}, usually {usual:.1f} a day"
    if v["card_idle_seconds"] < 0:
        return "first payment of this card"
    return f"the card's first payment in {_count(v['card_idle_seconds'] / 86_400, 'day')}"


def _card_unusual(v: Values, amount: str) -> str:
    for days, window in ((1, "1d"), (7, "7d"), (14, "14d")):
        count = v[f"card_unusual_{window}"]
        if count > 0:
            return (
                f"{_count(count, 'earlier payment')} of more than {UNUSUAL_RATIO:.0f} times the "
                f"card's mean in {_count(days, 'day')}"
            )
    ago = _count(v["card_unusual_age_days"], "day")
    return f"the card's last unusually large payment was {ago} ago"


def _card_history(v: Values, amount: str) -> str:
    if v["card_age_days"] < 0:
        return "a card never seen before"
    return (
        f"card first seen {_count(v['card_age_days'], 'day')} ago, "
        f"{_count(v['card_count_30d'], 'payment')} in 30 days"
    )


def _card_places(v: Values, amount: str) -> str:
    new = "a terminal new to the card" if v["card_new_terminal"] else "a terminal the card knows"
    return f"{new}; {_count(v['card_terminals_1d'], 'terminal')} in the day before"


def _card_frauds(v: Values, amount: str) -> str:
    return (
        f"{_count(v['card_frauds_30d'], 'fraud')} of this card on record, "
        f"the last {_count(v['card_fraud_age_days'], 'day')} ago"
    )


def _terminal_frauds(v: Values, amount: str) -> str:
    if v["terminal_labelled_30d"] < 1:
        return "no labelled payment of this terminal yet"
    text = (
        f"{v['terminal_frauds_30d']:.0f} of {_count(v['terminal_labelled_30d'], 'payment')} "
        "at this terminal with a known outcome were fraud"
    )
    if v["terminal_fraud_age_days"] >= 0:
        text += f", the last {_count(v['terminal_fraud_age_days'], 'day')} ago"
    return text


def _terminal_velocity(v: Values, amount: str) -> str:
    usual = v["terminal_count_30d"] / 30
    for key, window in (("10m", "10 minutes"), ("1h", "an hour"), ("1d", "a day")):
        count = v[f"terminal_count_{key}"] + 1
        if count > 1:
            return f"{_count(count, 'payment')} at the terminal in {window}, {usual:.1f} a day"
    return f"a quiet terminal, {_count(v['terminal_count_30d'], 'payment')} in 30 days"


def _terminal_amount(v: Values, amount: str) -> str:
    if v["terminal_ratio_30d"] < 0:
        return f"{amount}, with no earlier payment of the terminal to compare with"
    return f"{amount} is {v['terminal_ratio_30d']:.1f} times the terminal's mean of 30 days"


def _time(v: Values, amount: str) -> str:
    day = "on a weekend" if v["weekend"] else "on a weekday"
    return f"{day} between {v['hour']:02.0f}:00 and {(v['hour'] + 1) % 24:02.0f}:00 UTC"


_COUNTS = ("10m", "1h", "1d", "7d", "30d")
REASONS = (
    _Reason("AMOUNT", ("amount",), lambda v, amount: f"amount of {amount}"),
    _Reason("TIME", ("hour", "weekend", "night"), _time),
    _Reason(
        "CARD_AMOUNT",
        (
            "card_ratio_1d", "card_ratio_7d", "card_ratio_30d", "card_ratio_drawn",
            "card_deviation",
        ),
        _card_amount,
    ),
    _Reason(
        "CARD_UNUSUAL",
        (
            "card_unusual_1d", "card_unusual_7d", "card_unusual_14d", "card_unusual_age_days",
        ),
        _card_unusual,
        lambda v: v["card_unusual_age_days"] >= 0,
    ),
    _Reason(
        "CARD_VELOCITY",
        ("card_count_10m", "card_count_1h", "card_count_1d", "card_idle_seconds"),
        _card_velocity,
    ),
    _Reason(
        "CARD_HISTORY", ("card_count_7d", "card_count_30d", "card_age_days"), _card_history
    ),
    _Reason("CARD_PLACES", ("card_terminals_1d", "card_new_terminal"), _card_places),
    _Reason(
        "CARD_FRAUDS",
        ("card_frauds_30d", "card_fraud_age_days"),
        _card_frauds,
        lambda v: v["card_frauds_30d"] > 0,
    ),
    _Reason(
        "TERMINAL_VELOCITY", tuple(f"terminal_count_{window}" for window in _COUNTS),
        _terminal_velocity,
    ),
    _Reason("TERMINAL_AMOUNT", ("terminal_ratio_30d",), _terminal_amount),
    _Reason(
        "TERMINAL_FRAUDS",
        (
            *(f"terminal_share_{window}" for window in _COUNTS[2:]),
            *(f"terminal_frauds_{window}" for window in _COUNTS[2:]),
            "terminal_labelled_30d",
            "terminal_episode_days",
            "terminal_fraud_age_days",
            "terminal_genuine_since",
        ),
        _terminal_frauds,
        lambda v: v["terminal_frauds_30d"] > 0 or v["terminal_labelled_30d"] < 1,
    ),
)  # fmt: skip

_GROUPS = np.zeros((len(NAMES), len(REASONS)), np.int64)
for _number, _reason in enumerate(REASONS):
    for _feature in _reason.features:
        _GROUPS[COLUMN[_feature], _number] = 1


def explain(model: Published, batch: Batch, features: Features, picked: Indices) -> Texts:
    """The reasons of each row, heaviest first: lists of `{code, weight, text}`.

    weight: what the reason adds to the log-odds, beyond an average payment's, rounded to 1/1000.
    """
    weights = model.contributions(picked) @ _GROUPS[model.columns] / ONE
    order = np.argsort(-weights, axis=1, kind="stable")
    result = []
    for row, best in enumerate(order.tolist()):
        values = dict(zip(NAMES, features[row].tolist(), strict=True))
        amount = format_amount(int(batch.amount_minor[row]), batch.currency[row])
        told = [
            (REASONS[number], float(weights[row, number]))
            for number in best
            if weights[row, number] >= _LEAST and REASONS[number].applies(values)
        ]
        result.append(
            [
                {
                    "code": reason.code,
                    "weight": round(weight, 3),
                    "text": reason.text(values, amount),
                }
                for reason, weight in told[:MOST]
            ]
        )
    return texts(result)

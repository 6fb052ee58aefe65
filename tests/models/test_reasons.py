"""Reasons name the cause that was planted, with its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from models.bins import DEFAULT
from models.cards import CardProfiles
from models.features import CARD_COLUMNS, COLUMN, NAMES, TERMINAL_COLUMNS, WIDTH, empty, hundredths
from models.layout import layout_of
from models.learner import Learner
from models.published import ONE, Published
from models.reasons import MOST, REASONS, explain
from models.terminals import TerminalProfiles
from tests.models.rows import START, Payment, batch, examples
from tidegate.schema import DAY, HOUR, Batch, Features, View

LAYOUT = layout_of(DEFAULT)
REASON_OF = {feature: reason.code for reason in REASONS for feature in reason.features}


class Town:
    """Cards, terminals and a model living through payments whose outcome is known a week later."""

    def __init__(self) -> None:
        self.cards, self.terminals, self.learner = CardProfiles(), TerminalProfiles(), Learner()

    def features(self, payments: Batch) -> Features:
        result, amount = empty(len(payments)), hundredths(payments)
        result[:, CARD_COLUMNS] = self.cards.observe(payments, amount)
        result[:, TERMINAL_COLUMNS] = self.terminals.observe(payments, amount)
        return result

    def live(self, days: list[list[tuple[Payment, bool]]]) -> None:
        unknown: list[Any] = []
        for day, pairs in enumerate(days):
            features = self.features(batch([payment for payment, _ in pairs]))
            unknown.append(
                examples([(p, View.UNKNOWN, fraud) for p, fraud in pairs], features=features)
            )
            if day >= 7:
                known = unknown[day - 7]
                self.cards.learn(known)
                self.terminals.learn(known)
                self.learner.learn(known, START + (day + 1) * DAY)

    def explain(self, payment: Payment) -> list[dict[str, Any]]:
        asked = batch([payment])
        features = self.features(asked)
        model = self.learner.published
        return explain(model, asked, features, model.layout.indices(features))[0]


def days_of(
    number: int, bad: Callable[[Payment, float], bool], jump: float = 0.0
) -> list[list[tuple[Payment, bool]]]:
    """Days of 150 payments. Every card keeps to an amount of its own, from 5 to 200 euro, but for
    a share `jump` of payments that are of six times as much; `bad` is told how many times."""
    rng = np.random.default_rng(1)
    usual = np.exp(rng.uniform(np.log(500), np.log(20_000), 50))
    result = []
    for day in range(number):
        today = []
        for place, moment in enumerate(sorted(rng.integers(0, DAY, 150).tolist())):
            card = int(rng.integers(50))
            times = 6.0 if rng.random() < jump else float(rng.uniform(0.7, 1.4))
            payment = Payment(
                f"t{day}-{place}",
                START + day * DAY + moment,
                int(usual[card] * times),
                card=f"card-{card}",
                terminal=f"terminal-{rng.integers(30)}",
            )
            today.append((payment, bad(payment, times)))
        result.append(today)
    return result


def test_a_terminal_whose_payments_were_fraud_is_the_first_reason() -> None:
    town = Town()
    town.live(days_of(50, lambda payment, _: payment.terminal == "terminal-3"))
    now = START + 50 * DAY + 12 * HOUR
    first = town.explain(Payment("x", now, 2000, card="card-1", terminal="terminal-3"))[0]
    assert first["code"] == "TERMINAL_FRAUDS"
    features = town.features(batch([Payment("y", now, 2000, card="c", terminal="terminal-3")]))[0]
    frauds, labelled, age = (
        int(features[COLUMN[f"terminal_{name}"]])
        for name in ("frauds_30d", "labelled_30d", "fraud_age_days")
    )
    assert first["text"] == (
        f"{frauds} of {labelled} payments at this terminal with a known outcome were fraud, "
        f"the last {age} days ago"
    )
    assert frauds == labelled > 50
    innocent = town.explain(Payment("z", now, 2000, card="card-1", terminal="terminal-4"))
    assert "TERMINAL_FRAUDS" not in [reason["code"] for reason in innocent]


def test_an_amount_far_above_the_cards_own_is_the_first_reason() -> None:
    town = Town()
    town.live(days_of(50, lambda _, times: times > 5, jump=0.04))
    now = START + 50 * DAY + 12 * HOUR
    ratio = town.features(batch([Payment("x", now, 9000, card="card-7", terminal="terminal-1")]))
    mean = 9000 / float(ratio[0, COLUMN["card_ratio_30d"]])
    payment = Payment("y", now + HOUR, int(mean * 6), card="card-7", terminal="terminal-2")
    first = town.explain(payment)[0]
    assert first["code"] == "CARD_AMOUNT"
    assert f"{payment.minor / 100:.2f} EUR is " in first["text"]
    assert "times the card's mean of 30 days" in first["text"]


def pushed(values: Mapping[str, float], by: Mapping[str, float]) -> list[dict[str, Any]]:
    """Reasons of a row of the given values (0 elsewhere), where the weights its features `by` pick
    are given, in log-odds, and all else weighs nothing."""
    features = np.zeros((1, WIDTH), np.float32)
    for name, number in values.items():
        features[0, COLUMN[name]] = number
    picked = LAYOUT.indices(features)
    weights = np.zeros(LAYOUT.weights, np.int32)
    for name, weight in by.items():
        weights[picked[0, COLUMN[name]]] = round(weight * ONE)
    model = Published(DEFAULT, weights, np.zeros(LAYOUT.terms, np.int64), 0)
    return explain(model, batch([Payment("t", minor=43_000)]), features, picked)[0]


def test_every_feature_belongs_to_exactly_one_reason() -> None:
    told = [feature for reason in REASONS for feature in reason.features]
    assert sorted(told) == sorted(NAMES)
    assert len({reason.code for reason in REASONS}) == len(REASONS)


@pytest.mark.parametrize("feature", NAMES)
def test_what_a_feature_adds_is_told_under_its_reason_and_no_other(feature: str) -> None:
    on_record = {"card_frauds_30d": 1, "terminal_frauds_30d": 1, "terminal_labelled_30d": 1}
    found = pushed(on_record, {feature: 2.0})
    assert [(reason["code"], reason["weight"]) for reason in found] == [(REASON_OF[feature], 2.0)]
    assert found[0]["text"]


def test_features_of_one_reason_are_one_remark() -> None:
    found = pushed({}, {"card_ratio_1d": 1.0, "card_ratio_7d": 0.5, "card_deviation": 0.25})
    assert [(reason["code"], reason["weight"]) for reason in found] == [("CARD_AMOUNT", 1.75)]


def test_reasons_come_heaviest_first_and_only_the_first_four() -> None:
    by = {"amount": 1.0, "hour": 3.0, "card_ratio_1d": 2.0, "card_count_1d": 0.5}
    found = pushed({}, {**by, "card_new_terminal": 0.3, "terminal_ratio_30d": -5.0})
    assert [r["code"] for r in found] == ["TIME", "CARD_AMOUNT", "AMOUNT", "CARD_VELOCITY"]
    assert [r["weight"] for r in found] == [3.0, 2.0, 1.0, 0.5]
    assert len(found) == MOST


def test_what_adds_next_to_nothing_or_takes_away_is_no_reason() -> None:
    assert pushed({}, {"amount": 0.04, "hour": -2.0}) == []


def test_a_weight_is_measured_from_that_of_an_average_payment() -> None:
    features = np.zeros((1, WIDTH), np.float32)
    picked = LAYOUT.indices(features)
    weights = np.zeros(LAYOUT.weights, np.int32)
    weights[picked[0, COLUMN["amount"]]] = 2 * ONE
    means = np.zeros(LAYOUT.terms, np.int64)
    means[COLUMN["amount"]] = 2 * ONE
    model = Published(DEFAULT, weights, means, 0)
    assert explain(model, batch([Payment("t")]), features, picked)[0] == []


def test_reasons_are_of_their_own_row() -> None:
    features = np.zeros((2, WIDTH), np.float32)
    features[1, COLUMN["terminal_ratio_30d"]] = 7
    picked = LAYOUT.indices(features)
    weights = np.zeros(LAYOUT.weights, np.int32)
    weights[picked[1, COLUMN["terminal_ratio_30d"]]] = ONE
    model = Published(DEFAULT, weights, np.zeros(LAYOUT.terms, np.int64), 0)
    asked = batch([Payment("a", minor=100), Payment("b", minor=5000, currency="JPY")])
    assert explain(model, asked, features, picked).tolist() == [
        [],
        [
            {
                "code": "TERMINAL_AMOUNT",
                "weight": 1.0,
                "text": "5000 JPY is 7.0 times the terminal's mean of 30 days",
            }
        ],
    ]


def test_no_rows_have_no_reasons() -> None:
    features = np.zeros((0, WIDTH), np.float32)
    model = Published(DEFAULT, np.zeros(LAYOUT.weights, np.int32), np.zeros(LAYOUT.terms, int), 0)
    assert len(explain(model, batch([]), features, LAYOUT.indices(features))) == 0


@pytest.mark.parametrize(
    ("feature", "values", "text"),
    [
        ("amount", {}, "amount of 430.00 EUR"),
        ("hour", {"hour": 23}, "on a weekday between 23:00 and 00:00 UTC"),
        ("weekend", {"weekend": 1, "hour": 4}, "on a weekend between 04:00 and 05:00 UTC"),
        (
            "card_ratio_7d",
            {"card_ratio_30d": 4.26, "card_ratio_7d": 3, "card_ratio_1d": -1},
            "430.00 EUR is 4.3 times the card's mean of 30 days",
        ),
        (
            "card_ratio_1d",
            {"card_ratio_30d": -1, "card_ratio_7d": -1, "card_ratio_1d": 2},
            "430.00 EUR is 2.0 times the card's mean of 1 day",
        ),
        (
            "card_deviation",
            {"card_ratio_30d": -1, "card_ratio_7d": -1, "card_ratio_1d": -1},
            "430.00 EUR, with no earlier payment of the card to compare with",
        ),
        (
            "card_count_10m",
            {"card_count_10m": 4, "card_count_30d": 60, "card_age_days": 90},
            "5 payments of the card in 10 minutes, usually 2.0 a day",
        ),
        (
            "card_count_1d",
            {"card_count_1d": 1, "card_count_30d": 5, "card_age_days": 10},
            "2 payments of the card in a day, usually 0.5 a day",
        ),
        ("card_idle_seconds", {"card_idle_seconds": -1}, "first payment of this card"),
        (
            "card_idle_seconds",
            {"card_idle_seconds": 86_400 * 12},
            "the card's first payment in 12 days",
        ),
        (
            "card_idle_seconds",
            {"card_idle_seconds": 86_400},
            "the card's first payment in 1 day",
        ),
        ("card_age_days", {"card_age_days": -1}, "a card never seen before"),
        (
            "card_count_30d",
            {"card_age_days": 1, "card_count_30d": 1},
            "card first seen 1 day ago, 1 payment in 30 days",
        ),
        (
            "card_new_terminal",
            {"card_new_terminal": 1, "card_terminals_1d": 3},
            "a terminal new to the card; 3 terminals in the day before",
        ),
        (
            "card_frauds_30d",
            {"card_frauds_30d": 2, "card_fraud_age_days": 9},
            "2 frauds of this card on record, the last 9 days ago",
        ),
        (
            "terminal_count_1h",
            {"terminal_count_1h": 6, "terminal_count_30d": 45},
            "7 payments at the terminal in an hour, 1.5 a day",
        ),
        (
            "terminal_count_30d",
            {"terminal_count_30d": 2},
            "a quiet terminal, 2 payments in 30 days",
        ),
        (
            "terminal_ratio_30d",
            {"terminal_ratio_30d": -1},
            "430.00 EUR, with no earlier payment of the terminal to compare with",
        ),
        (
            "terminal_share_7d",
            {
                "terminal_frauds_30d": 11,
                "terminal_labelled_30d": 12,
                "terminal_fraud_age_days": 1,
            },
            "11 of 12 payments at this terminal with a known outcome were fraud, "
            "the last 1 day ago",
        ),
        ("terminal_frauds_1d", {}, "no labelled payment of this terminal yet"),
    ],
)
def test_texts_tell_the_values(feature: str, values: dict[str, float], text: str) -> None:
    [found] = [r for r in pushed(values, {feature: 1.0}) if r["code"] == REASON_OF[feature]]
    assert found["text"] == text


def test_a_second_payment_at_one_terminal_is_not_told_as_of_another() -> None:
    features = np.zeros((2, WIDTH), np.float32)
    asked = batch([Payment("a"), Payment("b", START + HOUR)])
    features[:, CARD_COLUMNS] = CardProfiles().observe(asked, hundredths(asked))
    values = {name: float(features[1, COLUMN[name]]) for name in NAMES}
    [found] = pushed(values, {"card_new_terminal": 1.0})
    assert found["text"] == "a terminal the card knows; 1 terminal in the day before"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"card_fraud_age_days": -1}, "CARD_FRAUDS"),
        # One so long ago that it is no longer counted.
        ({"card_fraud_age_days": 38, "card_frauds_30d": 0}, "CARD_FRAUDS"),
        ({"terminal_labelled_30d": 30}, "TERMINAL_FRAUDS"),
    ],
)
def test_a_clean_record_is_no_reason(values: dict[str, float], code: str) -> None:
    by = {feature: 1.0 for feature, its_code in REASON_OF.items() if its_code == code}
    found = pushed(values, {**by, "amount": 0.5})
    assert [reason["code"] for reason in found] == ["AMOUNT"]

"""The book's measures, on weeks small enough to be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bench.handbook import card_precision, judge
from dataflows.evaluate import Scored
from tidegate.schema import DAY, texts

START = 20  # day of the test week


def scored(rows: list[tuple[int, float, bool]]) -> Scored:
    """Payments of (day, score, fraud)."""
    day, score, fraud = zip(*rows, strict=True)
    return Scored(
        texts([str(number) for number in range(len(rows))]),
        np.array(day, np.int64) * DAY,
        np.array(score, np.float64),
        np.zeros(len(rows), np.int64),
        np.array(fraud, np.bool_),
        {},
    )


def test_a_card_known_to_be_compromised_is_left_out_from_the_day_it_is_known() -> None:
    rows = [
        (START - 10, 0.9, True),  # known before the week: card a
        (START - 8, 0.9, True),  # known on the first day: card b
        (START - 6, 0.9, True),  # known on the third day only: card c
        (START, 0.9, False),  # of a: left out, or it would cost precision
        (START, 0.8, False),  # of b: left out
        (START, 0.7, True),  # of c: still in
        (START + 2, 0.95, False),  # of c: out by now
        (START, 0.1, False),
    ]
    cards = texts(["a", "b", "c", "a", "b", "c", "c", "d"])
    auc, precision, _ = judge(scored(rows), cards, START)
    assert (auc, precision) == (1.0, 1.0)


def test_card_precision_looks_at_each_days_highest_cards_and_at_a_found_one_once() -> None:
    day = np.array([1, 1, 1, 2, 2], np.int64)
    card = texts(["a", "b", "c", "a", "d"])
    fraud = np.array([True, False, False, True, True])
    score = np.array([0.9, 0.8, 0.1, 0.99, 0.5])
    # Day 1 looks at a and b and finds a; day 2 has only d left to find.
    assert card_precision(day, card, fraud, score, most=2) == pytest.approx((1 / 2 + 1 / 2) / 2)

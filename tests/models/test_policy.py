"""Thresholds decide on whole numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.champion import served_probability
from models.policy import Policy
from models.published import ONE
from tidegate.schema import Decision, texts

IDS = texts([f"payment-{n}" for n in range(20_000)])

thresholds = st.tuples(st.floats(1e-6, 0.999), st.floats(1e-6, 0.999)).map(
    lambda two: (min(two), max(two))
)


def units(probability: float) -> int:
    return round(math.log(probability / (1 - probability)) * ONE)


@given(pair=thresholds)
def test_a_payment_at_a_threshold_is_above_it_and_one_unit_less_is_not(
    pair: tuple[float, float],
) -> None:
    policy = Policy(*pair)
    review, decline = map(units, pair)
    found = policy.decide(np.array([review - 1, review, decline - 1, decline], np.int64), IDS[:4])
    below = Decision.APPROVE if review == decline else Decision.REVIEW
    at_review = Decision.DECLINE if review == decline else Decision.REVIEW
    assert found.dtype == np.int8
    assert found.tolist() == [Decision.APPROVE, at_review, below, Decision.DECLINE]


@given(pair=thresholds, log_odds=st.lists(st.integers(-(2**40), 2**40), max_size=30))
def test_more_log_odds_never_give_a_milder_decision(
    pair: tuple[float, float], log_odds: list[int]
) -> None:
    found = Policy(*pair).decide(np.array(sorted(log_odds), np.int64), IDS[: len(log_odds)])
    assert found.tolist() == sorted(found.tolist())


@given(pair=thresholds)
def test_the_threshold_is_the_probability_it_is_called(pair: tuple[float, float]) -> None:
    picture = served_probability(np.array([units(p) for p in pair]))
    assert picture.tolist() == pytest.approx(list(pair), rel=1e-5)


def test_a_decline_threshold_of_one_never_declines() -> None:
    found = Policy(0.5, 1.0).decide(np.array([0, 2**40, 2**62], np.int64), IDS[:3])
    assert found.tolist() == [Decision.REVIEW] * 3


def test_one_in_so_many_of_what_would_be_declined_is_reviewed() -> None:
    policy = Policy(0.3, 0.9, control=20)
    rows = np.full(len(IDS), units(0.9), np.int64)
    found = policy.decide(rows, IDS)
    reviewed = np.flatnonzero(found == Decision.REVIEW)
    assert set(found.tolist()) == {Decision.REVIEW, Decision.DECLINE}
    assert len(reviewed) / len(IDS) == pytest.approx(1 / 20, abs=4 * math.sqrt(0.05 / len(IDS)))
    assert policy.decide(rows[:50], IDS[reviewed[:50]]).tolist() == [Decision.REVIEW] * 50
    below = policy.decide(rows - 1, IDS)
    assert set(below.tolist()) == {Decision.REVIEW}
    assert Policy(0.3, 0.9, control=1).decide(rows, IDS).tolist() == [Decision.REVIEW] * len(IDS)


def test_the_propensity_is_the_probability_of_not_being_declined() -> None:
    odds = np.array([units(0.3) - 1, units(0.9) - 1, units(0.9), 2**40], np.int64)
    assert Policy(0.3, 0.9, 20).propensity(odds).tolist() == [1, 1, *[np.float32(0.05)] * 2]
    assert Policy(0.3, 0.9).propensity(odds).tolist() == [1, 1, 0, 0]
    assert Policy(0.3, 1.0, 20).propensity(odds).tolist() == [1, 1, 1, 1]


def test_a_negative_control_group_is_refused() -> None:
    with pytest.raises(ValueError, match="one in so many, or 0, not -1"):
        Policy(0.3, 0.9, -1)


def test_no_rows_give_no_decisions() -> None:
    assert Policy().decide(np.zeros(0, np.int64), IDS[:0]).tolist() == []


@pytest.mark.parametrize(
    ("review", "decline"),
    [(0.0, 0.5), (-0.1, 0.5), (0.6, 0.5), (0.5, 1.1), (math.nan, 0.5), (0.5, math.nan)],
)
def test_thresholds_out_of_order_or_range_are_refused(review: float, decline: float) -> None:
    with pytest.raises(ValueError, match="thresholds must be"):
        Policy(review, decline)


def test_equal_policies_have_equal_names_and_others_have_others() -> None:
    assert Policy(0.3, 0.9).version == Policy(0.3, 0.9).version
    assert Policy(0.3, 1).version == Policy(0.3, 1.0).version
    assert Policy(np.float64(0.3), 0.9).version == Policy(0.3, 0.9).version
    names = {Policy(*pair).version for pair in _NAMED}
    assert len(names) == len(_NAMED)
    assert Policy(0.3, 0.9, 0).content == "thresholds 0.3 0.9"  # as before there were any
    for pair in _NAMED:
        assert Policy.parse(Policy(*pair).content) == Policy(*pair)


_NAMED = ((0.3, 0.9), (0.3, 0.8), (0.2, 0.9), (0.9, 0.9), (0.3, 0.9, 20), (0.3, 0.9, 10))

"""Quality as it is measured on the stream, against scikit-learn's figure for the same scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from models.portable import pack, unpack
from models.quality import Quality, average_precision
from tests.models.rows import scored
from tidegate.schema import DAY, View

NOW = 17_000 * DAY


def figures(quality: Quality, at: int = NOW) -> dict[str, float]:
    return {metric.metric: metric.value for metric in quality.metrics("m", at)}


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0.02, 0.5),
    skill=st.floats(0, 4),
    parts=st.integers(1, 5),
)
def test_average_precision_is_within_a_hundredth_of_the_exact_one(
    seed: int, share: float, skill: float, parts: int
) -> None:
    rng = np.random.default_rng(seed)
    fraud = rng.random(4000) < share
    fraud[0] = True
    score = rng.normal(-3, 1.5, 4000) + skill * fraud
    quality = Quality()
    for part in np.array_split(np.arange(4000), parts):
        quality.count(scored(score[part], fraud[part], NOW))
    exact = average_precision_score(fraud, score)
    assert figures(quality) == pytest.approx(
        {"average_precision": exact, "average_precision_7d": exact}, abs=0.01
    )


@pytest.mark.parametrize(
    ("genuine", "fraud", "value"),
    [
        ([5, 0], [0, 3], 1.0),
        ([0, 5], [3, 0], 3 / 8),
        ([4, 0, 1], [1, 0, 1], 0.5 * 1 / 2 + 0.5 * 2 / 7),
        ([0, 0], [0, 2], 1.0),
    ],
)
def test_average_precision_by_hand(genuine: list[int], fraud: list[int], value: float) -> None:
    assert average_precision(np.array(genuine), np.array(fraud)) == pytest.approx(value)


def test_there_is_no_average_precision_without_a_fraud() -> None:
    assert math.isnan(average_precision(np.array([3, 1]), np.array([0, 0])))
    quality = Quality()
    assert quality.metrics("m", NOW) == []
    quality.count(scored([-1.0, 2.0], [False, False], NOW))
    assert quality.metrics("m", NOW) == []


def test_scores_beyond_the_scale_count_at_its_ends() -> None:
    quality = Quality()
    quality.count(scored([-1000.0, -16.0, 16.0, 1000.0], [False, False, True, True], NOW))
    assert figures(quality)["average_precision"] == 1.0


def test_a_correction_moves_the_payment_to_its_other_outcome() -> None:
    corrected, told_once = Quality(), Quality()
    scores = [-2.0, 1.0, 3.0]
    corrected.count(scored(scores, [False, True, False], NOW))
    corrected.count(scored(scores[1:2], [False], NOW, before=View.FRAUD))
    corrected.count(scored(scores[2:], [True], NOW, before=View.GENUINE))
    told_once.count(scored(scores, [False, False, True], NOW))
    assert corrected.known == told_once.known == (3, 1)
    assert figures(corrected) == figures(told_once)


def test_a_correction_of_what_seven_days_no_longer_hold_leaves_them_whole() -> None:
    quality = Quality()
    quality.count(scored([1.0], [True], NOW))
    late = NOW + 20 * DAY
    quality.count(scored([1.0, 4.0], [False, True], late))
    quality.count(scored([1.0], [False], NOW, before=View.FRAUD))
    whole, week = quality.metrics("m", late)
    assert (whole.examples, week.examples) == (3, 2)
    assert quality.known == (3, 1)


def test_late_frauds_alone_do_not_make_a_perfect_week() -> None:
    quality = Quality()
    quality.count(scored([1.0, -1.0, 0.0], [False, False, True], NOW))
    # Long after, a chargeback for a payment that nobody had doubted.
    quality.count(scored([-1.0], [True], NOW, before=View.GENUINE))
    _, week = quality.metrics("m", NOW + 40 * DAY)
    assert week.examples == 3
    assert week.value == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_a_payment_learned_under_the_view_it_had_is_counted_once() -> None:
    quality = Quality()
    quality.count(scored([2.0], [True], NOW, before=View.FRAUD))
    assert quality.known == (1, 1)


def test_seven_days_forget_what_is_older() -> None:
    quality = Quality()
    quality.count(scored([1.0, -1.0], [False, True], NOW))  # as wrong as can be
    for day in range(1, 7):
        quality.count(scored([-1.0, 1.0], [False, True], NOW + day * DAY))
        assert figures(quality, NOW + day * DAY)["average_precision_7d"] < 1
    quality.count(scored([-1.0, 1.0], [False, True], NOW + 7 * DAY))
    found = figures(quality, NOW + 7 * DAY)
    assert found["average_precision_7d"] == 1.0
    assert found["average_precision"] < 1
    assert [m.examples for m in quality.metrics("m", NOW + 7 * DAY)] == [16, 14]


def test_the_last_seven_days_are_those_of_payments_also_over_a_pause() -> None:
    quality = Quality()
    quality.count(scored([1.0, -1.0], [False, True], NOW))
    wrong = figures(quality)["average_precision_7d"]
    later = NOW + 30 * DAY
    assert figures(quality, later)["average_precision_7d"] == wrong
    quality.count(scored([-1.0, 1.0], [False, True], later))
    assert figures(quality, later)["average_precision_7d"] == 1.0


def test_saving_and_loading_in_the_middle_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    straight, paused = Quality(), Quality()
    for day in range(12):
        part = scored(rng.normal(-2, 2, 50), rng.random(50) < 0.2, NOW + day * DAY)
        for quality in (straight, paused):
            quality.count(part)
        loaded = Quality()
        loaded.load(unpack("q", 1, pack("q", 1, paused.dump())))
        paused = loaded
    at = NOW + 12 * DAY
    assert straight.metrics("m", at) == paused.metrics("m", at)
    assert straight.known == paused.known

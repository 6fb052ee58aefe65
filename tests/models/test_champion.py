"""The champion keeps River's contract and learns what no additive model can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import base, checks
from sklearn.metrics import average_precision_score

from models.bins import DEFAULT, Bins
from models.champion import Champion, served_probability
from models.features import WIDTH
from models.portable import BadState

QUARTERS = (0.25, 0.5, 0.75)
CROSSED = (Bins("a", QUARTERS, QUARTERS), Bins("b", QUARTERS, QUARTERS), Bins("c", (0.5,)))
ADDITIVE = tuple(Bins(b.feature, b.fine) for b in CROSSED)

value = st.one_of(st.none(), st.floats(-1, 2, width=32))
row = st.dictionaries(st.sampled_from(["a", "b", "c", "unknown"]), value)
rows = st.lists(st.tuples(row, st.booleans()), max_size=20)


def _river_checks() -> Iterator[Any]:
    for number, parameters in enumerate(Champion._unit_test_params()):
        model = Champion(**parameters)
        skipped = model._unit_test_skips()
        for place, check in enumerate(checks.yield_checks(model)):
            name = check.__name__
            if name not in skipped:
                yield pytest.param(model, check, id=f"{name}-{number}-{place}")


@pytest.mark.parametrize(("model", "check"), list(_river_checks()))
def test_river_accepts_it_as_one_of_its_own(
    model: Champion, check: Callable[[base.Estimator], None]
) -> None:
    check(model.clone())


def interaction(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Fraud in 4 of the 16 cells of a and b, such that neither alone says anything."""
    rng = np.random.default_rng(seed)
    features = rng.random((count, 3)).astype(np.float32)
    cell = (features[:, :2] * 4).astype(int)
    noise = rng.random(count) < 0.02
    return features, ((cell.sum(axis=1) % 4 == 0) ^ noise)


def taught(bins: tuple[Bins, ...], count: int, size: int, seed: int = 1) -> Champion:
    champion = Champion(bins, rate=0.3, intercept=-1.0)
    features, fraud = interaction(count, seed)
    for start in range(0, count, size):
        part = slice(start, start + size)
        picked = champion.indices(features[part])
        champion.learn_rows(picked, fraud[part], np.ones(len(picked), np.float32))
    return champion


def quality(champion: Champion) -> float:
    features, fraud = interaction(4000, seed=2)
    return float(average_precision_score(fraud, champion.probabilities(champion.indices(features))))


def test_it_learns_an_interaction_that_an_additive_model_cannot() -> None:
    assert quality(taught(CROSSED, 20_000, 256)) > 0.85
    assert quality(taught(ADDITIVE, 20_000, 256)) < 0.40


def test_learning_in_batches_is_close_to_a_loop() -> None:
    loop, batched = taught(CROSSED, 6000, 1), taught(CROSSED, 6000, 64)
    features, _ = interaction(2000, seed=3)
    picked = loop.indices(features)
    apart = np.abs(loop.probabilities(picked) - batched.probabilities(picked))
    assert apart.mean() < 0.05
    assert abs(quality(loop) - quality(batched)) < 0.02


@settings(max_examples=25, deadline=None)
@given(stream=rows, weight=st.floats(0.125, 8, width=32))
def test_learn_many_of_one_row_is_learn_one_to_the_bit(
    stream: list[tuple[dict[str, Any], bool]], weight: float
) -> None:
    one, many = Champion(CROSSED), Champion(CROSSED)
    for x, y in stream:
        one.learn_one(x, y, w=weight)
        frame = pd.DataFrame([x], index=[7], dtype=object)
        many.learn_many(frame, pd.Series([y], index=[7]), w=weight)
    assert one.dump() == many.dump()


def frame_of(stream: list[tuple[dict[str, Any], bool]]) -> pd.DataFrame:
    return pd.DataFrame([x for x, _ in stream], index=range(10, 10 + len(stream)), dtype=float)


@settings(max_examples=25, deadline=None)
@given(learned=rows, asked=rows)
def test_predict_proba_many_says_what_predict_proba_one_says(
    learned: list[tuple[dict[str, Any], bool]], asked: list[tuple[dict[str, Any], bool]]
) -> None:
    champion = Champion(CROSSED, rate=1.0)
    for x, y in learned:
        champion.learn_one(x, y)
    frame = frame_of(asked)
    answer = champion.predict_proba_many(frame)
    assert list(answer.columns) == [False, True]
    assert list(answer.index) == list(frame.index)
    one_by_one = [champion.predict_proba_one(x) for x, _ in asked]
    assert answer[True].tolist() == [p[True] for p in one_by_one]
    assert answer[False].tolist() == [p[False] for p in one_by_one]


def test_frames_of_arrow_serve_as_well_as_those_of_pandas() -> None:
    champion = taught(CROSSED, 500, 50)
    frame = pd.DataFrame({"a": [0.1, None, 0.9], "b": [0.2, 0.4, 0.6], "c": [0.0, 1.0, 1.0]})
    arrow = champion.predict_proba_many(pa.Table.from_pandas(frame))
    expected = champion.predict_proba_many(frame)[True].tolist()
    assert arrow.column("True").to_pylist() == expected
    nullable = champion.predict_proba_many(frame.astype("Float64"))
    assert nullable[True].tolist() == expected


@pytest.mark.parametrize("size", [1, 64])
def test_saving_and_loading_keeps_every_bit(size: int) -> None:
    champion = taught(CROSSED, 1000, size)
    loaded = Champion.load(champion.dump(), CROSSED)
    assert loaded.dump() == champion.dump()
    assert (loaded.rate, loaded.intercept) == (champion.rate, champion.intercept)
    for other in (champion, loaded):
        other.learn_one({"a": 0.1, "b": 0.9, "c": 0.3}, True)
    assert loaded.dump() == champion.dump()
    assert loaded.publish().version == champion.publish().version


@pytest.mark.parametrize(
    "bins",
    [
        pytest.param(DEFAULT, id="others"),
        pytest.param(ADDITIVE, id="without-crosses"),
        pytest.param((*CROSSED[:2], Bins("c", (0.6,))), id="other-edges"),
        pytest.param((*CROSSED[:2], Bins("d", (0.5,))), id="other-feature"),
        pytest.param((CROSSED[1], CROSSED[0], CROSSED[2]), id="other-order"),
    ],
)
def test_weights_of_other_bins_are_refused(bins: tuple[Bins, ...]) -> None:
    with pytest.raises(ValueError, match="other bins"):
        Champion.load(Champion(CROSSED).dump(), bins)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_refused(data: st.DataObject) -> None:
    whole = Champion(CROSSED).dump()
    place = data.draw(st.one_of(st.integers(0, 80), st.integers(0, len(whole) - 1)))
    flipped = bytearray(whole)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (bytes(flipped), whole[:place]):
        with pytest.raises(BadState):
            Champion.load(damaged, CROSSED)


def test_a_missing_value_adds_nothing() -> None:
    champion = taught(CROSSED, 4000, 64)
    nothing = champion.predict_proba_one({})[True]
    assert nothing == pytest.approx(1 / (1 + np.exp(1.0)), abs=1e-15)
    for absent in ({"unknown": 3.0}, {"a": None}, {"a": float("nan"), "c": None}):
        assert champion.predict_proba_one(absent)[True] == nothing
    only_b = champion.predict_proba_one({"b": 0.3})
    assert champion.predict_proba_one({"b": 0.3, "a": None, "c": float("nan")}) == only_b
    assert only_b != champion.predict_proba_one({"b": 0.3, "a": 0.3})


def test_nothing_is_learned_of_a_missing_value() -> None:
    champion, untouched = Champion(CROSSED), Champion(CROSSED)
    for fraud in (True, False, True):
        champion.learn_one({"unknown": 1.0}, fraud)
    assert champion.publish().content == untouched.publish().content
    assert champion.predict_proba_one({}) == untouched.predict_proba_one({})


def test_learning_from_no_rows_changes_nothing() -> None:
    champion = taught(CROSSED, 100, 10)
    before = champion.dump()
    empty = np.zeros((0, 3), np.float32)
    champion.learn_rows(champion.indices(empty), np.zeros(0, bool), np.zeros(0, np.float32))
    assert champion.dump() == before


def test_a_row_of_weight_three_is_learned_as_three_equal_rows_of_a_batch() -> None:
    once, thrice = Champion(CROSSED), Champion(CROSSED)
    x = {"a": 0.3, "b": 0.6, "c": 0.1}
    once.learn_one(x, True, w=3.0)
    thrice.learn_many(pd.DataFrame([x] * 3), pd.Series([True] * 3))
    assert once.predict_proba_one(x)[True] == pytest.approx(thrice.predict_proba_one(x)[True])


def test_a_published_version_scores_as_the_champion_does() -> None:
    champion = taught(CROSSED, 4000, 64)
    features, _ = interaction(500, seed=4)
    served = served_probability(champion.publish().log_odds(features))
    np.testing.assert_allclose(
        served, champion.probabilities(champion.indices(features)), rtol=0, atol=1e-5
    )


def test_quickened_it_takes_larger_steps_from_where_it_is() -> None:
    slow, quick = Champion(), Champion()
    rng = np.random.default_rng(8)
    features = rng.gamma(2, 40, (256, WIDTH)).astype(np.float32)
    fraud, weight = rng.random(256) < 0.2, np.ones(256, np.float32)
    picked = slow.indices(features)
    for champion in (slow, quick):
        for _ in range(30):
            champion.learn_rows(picked, fraud, weight)
    before = slow.probabilities(picked)
    quick.quicken()
    assert (quick.probabilities(picked) == before).all()
    for champion in (slow, quick):
        champion.learn_rows(picked, ~fraud, 0.02 * weight)
    moved = [np.abs(champion.probabilities(picked) - before).sum() for champion in (slow, quick)]
    assert moved[1] > 1.2 * moved[0]

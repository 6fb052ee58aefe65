"""A published version: whole numbers that add up the same in every order."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bins import DEFAULT, Bins
from models.champion import Champion
from models.features import WIDTH
from models.layout import layout_of
from models.portable import BadState, pack, unpack
from models.published import VERSION, Published

SMALL = (Bins("a", (0.0, 1.0), (1.0,)), Bins("b", (0.5,), (0.5,)), Bins("c", (2.0,), (2.0, 3.0)))
seeds = st.integers(0, 2**32 - 1)


def version_of(seed: int, bins: tuple[Bins, ...] = SMALL, reach: int = 2**31) -> Published:
    """A version of weights as large as they may be."""
    rng = np.random.default_rng(seed)
    layout = layout_of(bins)
    return Published(
        bins,
        rng.integers(-reach, reach, layout.weights).astype(np.int32),
        rng.integers(-reach, reach, layout.terms),
        int(rng.integers(-reach, reach)),
    )


def features_of(seed: int, rows: int, width: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, 2, (rows, width)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, rows=st.integers(0, 40), data=st.data())
def test_log_odds_are_whole_and_do_not_depend_on_order_or_batching(
    seed: int, rows: int, data: st.DataObject
) -> None:
    published, features = version_of(seed), features_of(seed, rows)
    whole = published.log_odds(features)
    assert whole.dtype == np.int64
    order = np.array(data.draw(st.permutations(range(rows))), np.int64)
    assert published.log_odds(features[order]).tolist() == whole[order].tolist()
    cut = data.draw(st.integers(0, rows))
    parts = [published.log_odds(features[:cut]), published.log_odds(features[cut:])]
    assert np.concatenate(parts).tolist() == whole.tolist()
    picked = published.layout.indices(features)
    terms = np.array(data.draw(st.permutations(range(published.layout.terms))), np.int64)
    assert published.sum(picked[:, terms]).tolist() == whole.tolist()


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_log_odds_are_the_plain_sum_of_the_picked_weights(seed: int) -> None:
    published, features = version_of(seed), features_of(seed, 5)
    for row, found in zip(
        published.layout.indices(features).tolist(),
        published.log_odds(features).tolist(),
        strict=True,
    ):
        assert found == sum(int(published.weights[w]) for w in row) + published.intercept


@pytest.mark.parametrize("bins", [SMALL, DEFAULT], ids=["small", "default"])
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_contributions_and_baseline_add_up_to_the_log_odds_exactly(
    bins: tuple[Bins, ...], seed: int
) -> None:
    published = version_of(seed, bins)
    features = features_of(seed, 20, len(bins))
    contributions = published.contributions(published.layout.indices(features))
    assert contributions.shape == (20, len(bins))
    assert contributions.dtype == np.int64
    total = contributions.sum(axis=1) + published.baseline
    assert total.tolist() == published.log_odds(features).tolist()


def test_a_cross_is_shared_by_its_two_features() -> None:
    bins = (Bins("a", (0.5,), (0.5,)), Bins("b", (0.5,), (0.5,)))
    layout = layout_of(bins)
    weights = np.zeros(layout.weights, np.int32)
    row = np.array([[1.0, 1.0]], np.float32)
    weights[layout.indices(row)[0, 2]] = 7
    published = Published(bins, weights, np.zeros(3, np.int64), 0)
    assert published.contributions(layout.indices(row)).tolist() == [[4, 3]]


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_a_version_loaded_from_its_content_is_the_same_version(seed: int) -> None:
    published = version_of(seed, DEFAULT)
    loaded = Published.load(bytes(published.content))
    assert loaded.version == published.version
    assert loaded.bins == published.bins
    assert loaded.baseline == published.baseline
    features = features_of(seed, 10, WIDTH)
    picked = published.layout.indices(features)
    assert loaded.log_odds(features).tolist() == published.log_odds(features).tolist()
    assert (loaded.contributions(picked) == published.contributions(picked)).all()
    # Not only what it was loaded from: made anew out of its parts.
    again = Published(loaded.bins, loaded.weights, loaded.means, loaded.intercept)
    assert again.content == published.content


def test_the_id_is_the_sha256_of_the_content() -> None:
    published = version_of(1)
    assert published.version == hashlib.sha256(published.content).hexdigest()


def test_equal_models_have_equal_ids_and_others_have_others() -> None:
    assert version_of(1).version == version_of(1).version
    assert version_of(1).version != version_of(2).version
    first, second = Champion(SMALL), Champion(SMALL)
    assert first.publish().version == second.publish().version
    first.learn_one({"a": 3.0}, True)
    assert first.publish().version != second.publish().version
    second.learn_one({"a": 3.0}, True)
    assert first.publish().version == second.publish().version


def test_other_edges_alone_make_another_version() -> None:
    other = (Bins("a", (0.0, 1.5), (1.5,)), *SMALL[1:])
    one = version_of(1)
    assert Published(other, one.weights, one.means, one.intercept).version != one.version


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_content_is_refused(data: st.DataObject) -> None:
    content = version_of(3).content
    place = data.draw(st.one_of(st.integers(0, 80), st.integers(0, len(content) - 1)))
    flipped = bytearray(content)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (bytes(flipped), content[:place]):
        with pytest.raises(BadState):
            Published.load(damaged)


def test_content_whose_weights_do_not_fit_its_bins_is_refused() -> None:
    arrays = unpack("model-version", VERSION, version_of(3).content)
    content = pack("model-version", VERSION, {**arrays, "weights": arrays["weights"][:-1]})
    with pytest.raises(BadState, match="another number of weights"):
        Published.load(content)


def test_the_state_of_a_champion_is_no_version() -> None:
    with pytest.raises(BadState, match="not a saved model-version but a champion"):
        Published.load(Champion(SMALL).dump())

"""The bins the champion is served with."""

from __future__ import annotations

import numpy as np
import pytest

from models.bins import DEFAULT, Bins
from models.features import NAMES, WIDTH

each = pytest.mark.parametrize("bins", DEFAULT, ids=lambda bins: bins.feature)


def test_every_feature_has_bins_in_the_order_of_the_features() -> None:
    assert tuple(bins.feature for bins in DEFAULT) == NAMES
    assert len(DEFAULT) == WIDTH


@each
def test_edges_ascend_and_stay_apart_as_the_features_are_stored(bins: Bins) -> None:
    for edges in (bins.fine, bins.coarse, bins.edges):
        assert (np.diff(np.array(edges, np.float32)) > 0).all()


@each
def test_a_coarse_edge_is_a_fine_one_too(bins: Bins) -> None:
    assert set(bins.edges) == {*bins.fine, *bins.coarse}


@pytest.mark.parametrize(
    "feature",
    [
        *("card_idle_seconds", "card_age_days", "card_fraud_age_days"),
        *("card_ratio_1d", "card_ratio_7d", "card_ratio_30d", "terminal_ratio_30d"),
        *("terminal_share_1d", "terminal_share_7d", "terminal_share_30d"),
        *("terminal_episode_days", "terminal_fraud_age_days", "terminal_genuine_since"),
    ],
)
def test_no_past_to_speak_of_has_a_bin_to_itself(feature: str) -> None:
    bins = DEFAULT[NAMES.index(feature)]
    assert -1 < bins.edges[0] <= 0

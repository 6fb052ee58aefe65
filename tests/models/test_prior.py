"""Before the first label: what is unusual scores higher, and is not flagged for that alone."""

from __future__ import annotations

import numpy as np
import pytest

from models.bins import DEFAULT, Bins
from models.champion import Champion
from models.features import COLUMN, NAMES, USUAL_AMOUNT
from models.policy import Policy
from models.prior import BELIEFS, Belief, first_weights
from tidegate.schema import Decision, Features, texts

OF_LABELS = {"card_frauds_30d", "terminal_share_7d"}


def payments(rows: int, **values: float) -> Features:
    """Payments that are ordinary but for these values."""
    features = np.zeros((rows, len(NAMES)), np.float32)
    ordinary = {"amount": USUAL_AMOUNT, "card_ratio_drawn": 1.0} | values
    for name, value in ordinary.items():
        features[:, COLUMN[name]] = value
    return features


def log_odds(**values: float) -> int:
    return int(Champion().publish().log_odds(payments(1, **values))[0])


def test_beliefs_are_of_features_that_have_bins() -> None:
    assert {belief.feature for belief in BELIEFS} <= {bins.feature for bins in DEFAULT}


@pytest.mark.parametrize("feature", [belief.feature for belief in BELIEFS])
def test_more_of_it_is_more_suspicious_until_no_more_is(feature: str) -> None:
    (points,) = [belief.points for belief in BELIEFS if belief.feature == feature]
    found = [log_odds(**{feature: value}) for value, _ in points]
    assert found == sorted(found)
    assert found[0] < found[-1]
    assert log_odds(**{feature: 1000 * points[-1][0]}) >= found[-1]


def test_before_the_first_label_nothing_is_flagged_and_the_unusual_ranks_first() -> None:
    most = {b.feature: 1e6 for b in BELIEFS if b.feature not in OF_LABELS}
    large = payments(1, amount=4 * USUAL_AMOUNT, card_ratio_drawn=4.0)
    features = np.concatenate([payments(1), large, payments(1, **most)])
    odds = Champion().publish().log_odds(features)
    assert odds.tolist() == sorted(set(odds.tolist()))
    assert Policy().decide(odds, texts("abc")).tolist() == [Decision.APPROVE] * 3


def test_one_fraud_known_of_a_few_payments_makes_the_terminals_next_ones_suspicious() -> None:
    unusual = payments(1, amount=5 * USUAL_AMOUNT, card_ratio_drawn=5.0, terminal_share_7d=0.25)
    assert Policy().decide(Champion().publish().log_odds(unusual), texts("a")).tolist() == [
        Decision.REVIEW
    ]


def test_a_belief_fades_as_frauds_are_learned_from_also_where_none_was() -> None:
    champion = Champion()
    ordinary = payments(256)
    large = payments(1, amount=100_000, card_unusual_7d=3)

    genuine, fraud = np.zeros(256, bool), np.arange(256) % 2 == 0
    weight = np.ones(256, np.float32)
    champion.learn_rows(champion.indices(ordinary), genuine, weight)
    assert champion._weights[champion.indices(large)].max() > 0.4  # believed, and not visited
    for _ in range(16):
        champion.learn_rows(champion.indices(ordinary), fraud, weight)
    of_card = champion.indices(large)[0, COLUMN["card_unusual_7d"]]
    first = Champion()._weights[of_card]
    assert champion._weights[of_card] == pytest.approx(first * np.exp(-16 * 128 / 400))


def test_saved_in_the_middle_of_fading_it_goes_on_fading() -> None:
    champion, other = Champion(), Champion()
    rows, fraud = payments(64), np.arange(64) % 4 == 0
    for _ in range(5):
        for one in (champion, other):
            one.learn_rows(one.indices(rows), fraud, np.ones(64, np.float32))
        other = Champion.load(other.dump())
    assert champion.dump() == other.dump()
    assert champion.publish().version == other.publish().version


def test_a_bin_is_believed_to_be_as_its_middle_and_an_open_one_as_its_edge() -> None:
    bins = Bins("x", (0.0, 2.0, 4.0))
    belief = Belief("x", ((1.0, -1.0), (5.0, 3.0)))
    assert first_weights(bins, [belief]).tolist() == [-1.0, -1.0, 1.0, 2.0]
    assert first_weights(bins, [Belief("y", ((0.0, 5.0),))]).tolist() == [0.0] * 4
    assert first_weights(Bins("x", ()), []).tolist() == [0.0]

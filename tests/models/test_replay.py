"""What was decided is decided again, and what is missing or not as it was is named."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from models.bins import DEFAULT, Bins
from models.champion import Champion
from models.features import WIDTH
from models.policy import Policy
from models.portable import BadState
from models.published import Published
from models.replay import CannotReplay, Replayer
from tidegate.schema import Features, ModelVersion, texts

POLICY = Policy(0.2, 0.6, control=3)


def trained(bins: tuple[Bins, ...] = DEFAULT) -> Published:
    rng = np.random.default_rng(3)
    champion = Champion(bins)
    features = rng.gamma(2, 40, (256, len(bins))).astype(np.float32)
    champion.learn_rows(champion.indices(features), rng.random(256) < 0.3, np.ones(256, np.float32))
    return champion.publish()


def stored(published: Published) -> ModelVersion:
    return ModelVersion(published.version, "champion", 0, published.content, 256, 70)


def replayer(
    model: ModelVersion | None = None, policy: str | None = None, asked: list[str] | None = None
) -> Replayer:
    def give(version: str) -> ModelVersion | None:
        if asked is not None:
            asked.append(version)
        return model

    return Replayer(give, lambda version: policy)


def rows(features: Features) -> list[bytes]:
    return [row.astype("<f4").tobytes() for row in features]


FEATURES = np.random.default_rng(5).gamma(2, 40, (50, WIDTH)).astype(np.float32)
MODEL = trained()
IDS = [f"payment-{n}" for n in range(len(FEATURES))]


def test_decisions_are_made_again_to_the_bit_and_each_version_is_asked_for_once() -> None:
    asked: list[str] = []
    again = replayer(stored(MODEL), POLICY.content, asked)
    for _ in range(3):
        made = again.replay(MODEL.version, POLICY.version, IDS, rows(FEATURES))
        assert made.log_odds.tolist() == MODEL.log_odds(FEATURES).tolist()
        assert made.decision.tolist() == POLICY.decide(made.log_odds, texts(IDS)).tolist()
    assert asked == [MODEL.version]


def test_a_model_of_fewer_features_finds_its_own_among_those_stored() -> None:
    some = (DEFAULT[30], DEFAULT[3], DEFAULT[11])
    model = trained(some)
    made = replayer(stored(model), POLICY.content).replay(
        model.version, POLICY.version, IDS, rows(FEATURES)
    )
    assert made.log_odds.tolist() == model.log_odds(FEATURES[:, [30, 3, 11]]).tolist()


def test_a_feature_that_was_missing_adds_nothing_as_it_did() -> None:
    features = FEATURES.copy()
    features[:, 5] = np.nan
    made = replayer(stored(MODEL), POLICY.content).replay(
        MODEL.version, POLICY.version, IDS, rows(features)
    )
    picked = MODEL.layout.indices(features)
    weights = np.append(MODEL.weights, 0).astype(np.int64)
    assert made.log_odds.tolist() == (weights[picked].sum(axis=1) + MODEL.intercept).tolist()


UNKNOWN = trained((Bins("phase_of_the_moon", (0.5,)),))
DAMAGED = dataclasses.replace(stored(MODEL), content=MODEL.content[:-1] + b"?")


@pytest.mark.parametrize(
    ("version", "model", "policy", "told"),
    [
        (MODEL.version, None, POLICY.content, f"model version {MODEL.version} is not stored"),
        (MODEL.version, stored(MODEL), None, f"policy version {POLICY.version} is not stored"),
        (MODEL.version, DAMAGED, POLICY.content, "damaged"),
        ("another", stored(MODEL), POLICY.content, "stored as model version another"),
        (MODEL.version, stored(MODEL), "thresholds 0.1 0.2", "stored as policy version"),
        (MODEL.version, stored(MODEL), "thresholds 2 3", "thresholds must be"),
        (MODEL.version, stored(MODEL), "coin", "not a policy that this release knows: 'coin'"),
        (UNKNOWN.version, stored(UNKNOWN), POLICY.content, "no feature phase_of_the_moon"),
    ],
)
def test_what_is_missing_or_not_as_it_was_is_named(
    version: str, model: ModelVersion | None, policy: str | None, told: str
) -> None:
    with pytest.raises(CannotReplay, match=told):
        replayer(model, policy).replay(version, POLICY.version, IDS, rows(FEATURES))


def test_fewer_features_than_the_model_has_are_refused() -> None:
    with pytest.raises(CannotReplay, match=f"3 features are stored, .* number {WIDTH}"):
        replayer(stored(MODEL), POLICY.content).replay(
            MODEL.version, POLICY.version, IDS, rows(FEATURES[:, :3])
        )


def test_a_damaged_version_does_not_load() -> None:
    with pytest.raises(BadState):
        Published.load(DAMAGED.content)


def test_a_policy_is_what_its_content_says_and_is_named_after_it() -> None:
    assert Policy.parse(POLICY.content) == POLICY
    assert POLICY.version == hashlib.sha256(POLICY.content.encode()).hexdigest()[:16]

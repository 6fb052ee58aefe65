"""Models of River learn beside the champion, remember, and stay within their caps."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from models.features import COLUMN, WIDTH
from models.outside import Outside, OutsideLearner
from models.pickled import NotOurs, pickled, unpickled
from models.portable import BadState, pack, unpack
from models.roster import ALL, CHALLENGERS, challengers
from tests.models.rows import scored
from tidegate.schema import DAY, SUSPENDED, Examples, Metric, texts

NOW = 17_000 * DAY
OUTSIDE = [challenger for challenger in CHALLENGERS if isinstance(challenger, Outside)]
LOGISTIC = next(challenger for challenger in OUTSIDE if challenger.name == "logistic")


def at_once() -> float:
    """A clock of a machine that takes no time."""
    return 0.0


class Slow:
    """A clock that so many seconds pass on at each look."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._now = seconds, 0.0

    def __call__(self) -> float:
        self._now += self._seconds
        return self._now


def load(saved: bytes, of: Outside) -> OutsideLearner:
    return OutsideLearner.load(saved, of, at_once)


def lesson(rows: int, seed: int, day: int = 0, share: float = 0.1) -> Examples:
    """Payments whose frauds have large amounts."""
    rng = np.random.default_rng(seed)
    features = rng.gamma(2, 2, (rows, WIDTH)).astype(np.float32)
    fraud = rng.random(rows) < share
    features[:, COLUMN["amount"]] = np.where(fraud, 45_000, 2_500) * rng.gamma(9, 1 / 9, rows)
    found = scored(np.zeros(rows), fraud, NOW + day * DAY, features=features)
    return replace(found, transaction_id=texts([f"p-{seed}-{n}" for n in range(rows)]))


def tried(learner: OutsideLearner, day: int) -> dict[str, float]:
    return {m.metric: m.value for m in learner.measure(NOW + day * DAY)}


@pytest.mark.parametrize("of", OUTSIDE, ids=lambda of: of.name)
def test_it_learns_remembers_and_goes_on_as_if_nothing_had_been(of: Outside) -> None:
    learner = OutsideLearner(of, at_once)
    assert np.isnan(tried(learner, 0).get("trial_average_precision", np.nan))
    for day in range(8):
        assert not learner.learn(lesson(400, day, day), NOW + day * DAY)
    again = load(learner.dump(), of)
    for one in (learner, again):
        one.learn(lesson(400, 99, 8), NOW + 8 * DAY)
    assert tried(learner, 9) == tried(again, 9)
    assert learner.suspended is None
    if of.name != "half-space":  # which is not told what is fraud
        learner.learn(lesson(1_000, 7_777, 30), NOW + 30 * DAY)
        assert tried(learner, 31)["trial_average_precision_7d"] > 0.4  # one in ten is fraud


def test_what_it_says_is_put_right_for_the_sample() -> None:
    learner = OutsideLearner(LOGISTIC, at_once)
    for day in range(20):
        learner.learn(lesson(1_000, day, day, share=0.04), NOW + day * DAY)
    calibration = tried(learner, 20)["trial_calibration_7d"]
    assert 0.3 < calibration < 2  # frauds expected over found; of the sample, it expects 16 times


def test_one_that_is_too_slow_is_suspended_and_says_so_once() -> None:
    learner = OutsideLearner(LOGISTIC, Slow(0.1))
    for day in range(9):
        learner.learn(lesson(1_000, day, day), NOW + day * DAY)
    assert learner.suspended is not None
    assert learner.suspended.endswith("microseconds a payment where 400 are allowed")
    told = learner.measure(NOW + 9 * DAY)
    assert [(m.name, m.metric) for m in told] == [("logistic", SUSPENDED)]
    assert told[0].value > LOGISTIC.microseconds
    again = load(learner.dump(), LOGISTIC)
    assert again.suspended == learner.suspended
    assert not again.learn(lesson(100, 1), NOW + 10 * DAY)
    assert again.measure(NOW + 11 * DAY) == []


def test_one_that_is_too_large_is_suspended() -> None:
    learner = OutsideLearner(replace(LOGISTIC, megabytes=1e-5), at_once)
    learner.learn(lesson(100, 1), NOW)
    saved = learner.dump()  # where it is weighed
    assert learner.suspended is not None
    assert learner.suspended.endswith("megabytes where 1e-05 are allowed")
    again = load(saved, replace(LOGISTIC, megabytes=1e-5))
    assert [m.metric for m in again.measure(NOW)] == [SUSPENDED]
    assert len(saved) < 1_000_000


def test_another_cap_begins_anew() -> None:
    learner = OutsideLearner(LOGISTIC, at_once)
    with pytest.raises(NotOurs, match="other caps"):
        load(learner.dump(), replace(LOGISTIC, microseconds=17))


def test_damaged_bytes_are_refused() -> None:
    saved = OutsideLearner(LOGISTIC, at_once).dump()
    with pytest.raises(BadState):
        load(saved[:-1] + b"?", LOGISTIC)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1 + 1",)


class Escapes:
    def __reduce__(self) -> tuple[object, tuple[object, str]]:
        return getattr, (LOGISTIC.make(), "__class__")


@pytest.mark.parametrize("holds", [Evil(), Escapes(), pytest.raises, pickle.loads])
def test_nothing_but_models_is_made_of_saved_bytes(holds: object) -> None:
    head, _, _ = pickled(None).partition(b"\n")
    with pytest.raises(NotOurs, match="it holds"):
        unpickled(head + b"\n" + pickle.dumps(holds))


def test_what_another_release_saved_is_not_read() -> None:
    _, _, content = pickled(1).partition(b"\n")
    with pytest.raises(NotOurs, match=r"saved by river 0\.0"):
        unpickled(b"river 0.0\n" + content)
    saved = unpack("outside", 1, OutsideLearner(LOGISTIC, at_once).dump())
    saved["model"] = np.frombuffer(b"river 0.0\n" + content, np.uint8)
    with pytest.raises(NotOurs):
        load(pack("outside", 1, saved), LOGISTIC)


def test_the_roster_names_each_once_and_knows_nobody_else() -> None:
    names = [challenger.name for challenger in CHALLENGERS]
    assert len(set(names)) == len(names)
    assert "champion" not in names
    assert challengers([ALL]) == CHALLENGERS
    assert [c.name for c in challengers(["logistic", "quick"])] == ["logistic", "quick"]
    assert challengers([]) == ()
    with pytest.raises(ValueError, match="names 'nobody': quick, book"):
        challengers(["quick", "nobody"])


def test_a_metric_of_a_trial_says_how_many_payments_it_stands_for() -> None:
    learner = OutsideLearner(LOGISTIC, at_once)
    learner.learn(lesson(1_000, 5), NOW)
    found = [m for m in learner.measure(NOW + DAY) if m.metric == "trial_average_precision"]
    assert found == [Metric("logistic", "trial_average_precision", NOW + DAY, *of(found[0]))]
    assert found[0].examples == pytest.approx(1_000, rel=0.4)


def of(metric: Metric) -> tuple[float, int]:
    return metric.value, metric.examples

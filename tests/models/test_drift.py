"""Alarms come soon after a change, and not without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from models.bins import Bins
from models.drift import LOG_LOSS, Alarm, Drift, stability
from models.layout import layout_of
from models.portable import pack, unpack
from models.published import ONE
from tidegate.schema import DAY, HOUR, Bools, Features, Ints

BINS = (
    Bins("amount", (1000, 2000, 4000, 8000), (2000,)),
    Bins("hour", (6, 12, 18)),
    Bins("card_age_days", (10, 30)),
)
LAYOUT = layout_of(BINS)
START = 20_000 * DAY
A_DAY, DAYS, CHANGE = 1_440, 80, 68


@dataclass
class Stream:
    """Payments of `DAYS` days; scores are calibrated and tell something of fraud."""

    at: Ints = field(init=False)
    features: Features = field(init=False)
    log_odds: Ints = field(init=False)
    fraud: Bools = field(init=False)
    seed: int = 1

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        rows = A_DAY * DAYS
        self.at = START + np.sort(rng.integers(0, DAYS * DAY, rows))
        hour = self.at // HOUR % 24
        odds = rng.normal(-5, 1.5, rows) + 0.3 * (hour < 6)
        self.fraud = rng.random(rows) < 1 / (1 + np.exp(-odds))
        self.log_odds = np.rint(odds * ONE).astype(np.int64)
        age = (self.at - START) / DAY
        amount = rng.gamma(4, 750, rows)
        self.features = np.stack([amount, hour, age], axis=1).astype(np.float32)

    @property
    def later(self) -> Bools:
        """The rows from the change on."""
        return self.at >= START + CHANGE * DAY


Found = list[tuple[float, Alarm]]


def watched(
    stream: Stream, cuts: Sequence[int] = (), pause: Callable[[Drift], Drift] = lambda d: d
) -> Found:
    """What is told, and on which day of the stream, of batches of 256 or cut there."""
    drift, found = Drift(LAYOUT), []
    rows = len(stream.at)
    ends = [*cuts, rows] if cuts else [*range(256, rows, 256), rows]
    for start, end in zip([0, *ends], ends, strict=False):
        part = slice(start, end)
        told = drift.count(
            stream.at[part],
            LAYOUT.indices(stream.features[part]),
            stream.log_odds[part],
            stream.fraud[part],
        )
        found += [((stream.at[end - 1] - START) / DAY, alarm) for alarm in told]
        drift = pause(drift)
    return found


def signals(found: Found) -> set[str]:
    return {alarm.signal for _, alarm in found}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_without_a_change_nothing_is_told_not_even_of_what_grows_with_time(seed: int) -> None:
    assert watched(Stream(seed=seed)) == []


def new_fraud(stream: Stream) -> None:
    """As many frauds again, which the model does not see."""
    rng = np.random.default_rng(9)
    stream.fraud |= stream.later & (rng.random(len(stream.at)) < stream.fraud.mean())


def test_frauds_that_the_model_does_not_see_are_told_within_three_days_by_its_log_loss() -> None:
    stream = Stream()
    new_fraud(stream)
    (at, alarm), *_ = watched(stream)
    assert alarm.signal == LOG_LOSS
    assert CHANGE <= at < CHANGE + 3
    assert alarm.value > 1
    assert 0 < alarm.examples < len(stream.at)


def test_what_was_told_is_not_told_again_for_a_week() -> None:
    stream = Stream()
    new_fraud(stream)
    days = [at for at, alarm in watched(stream) if alarm.signal == LOG_LOSS]
    assert (np.diff(days) >= 6.9).all()


def test_a_model_that_errs_less_is_no_alarm() -> None:
    stream = Stream()
    surer = np.where(stream.fraud, stream.log_odds + 2 * ONE, stream.log_odds)
    stream.log_odds = np.where(stream.later, surer, stream.log_odds)
    assert LOG_LOSS not in signals(watched(stream))


@pytest.mark.parametrize(("shift", "sign"), [(2 * ONE, 1), (-2 * ONE, -1)])
def test_scores_that_move_are_told_with_how_far(shift: int, sign: int) -> None:
    stream = Stream()
    stream.log_odds = stream.log_odds + shift * stream.later
    told = {alarm.signal: (at, alarm.value) for at, alarm in reversed(watched(stream))}
    for signal in ("score_q50", "score_q95"):
        at, value = told[signal]
        assert CHANGE <= at < CHANGE + 2
        assert 0.75 <= sign * value <= 2.5


def test_labels_that_stop_are_told_as_a_falling_share_of_frauds() -> None:
    stream = Stream()
    stream.fraud = stream.fraud & ~stream.later
    told = {alarm.signal: (at, alarm.value) for at, alarm in reversed(watched(stream))}
    at, value = told["fraud_share"]
    assert CHANGE <= at < CHANGE + 5
    assert value < 0.5


def test_amounts_that_grow_are_told_within_a_week_and_name_the_feature() -> None:
    stream = Stream()
    stream.features[stream.later, 0] *= 2
    (at, alarm), *_ = watched(stream)
    assert alarm.signal == "psi_amount"
    assert CHANGE < at < CHANGE + 7
    assert alarm.value > 0.25
    assert signals(watched(stream)) == {"psi_amount"}


def test_in_the_first_weeks_nothing_is_told() -> None:
    stream = Stream()
    early = stream.at >= START + 20 * DAY
    stream.log_odds = stream.log_odds + 4 * ONE * early
    stream.features[early, 0] *= 3
    assert [at for at, _ in watched(stream) if at < 35] == []


def test_batches_make_no_difference_nor_does_saving_and_loading() -> None:
    stream = Stream()
    new_fraud(stream)
    stream.features[stream.later, 0] *= 2
    whole = [alarm for _, alarm in watched(stream)]
    rng = np.random.default_rng(3)
    cuts = sorted(set(rng.integers(1, len(stream.at), 150).tolist()))
    assert [alarm for _, alarm in watched(stream, cuts)] == whole
    assert len(whole) >= 2

    def saved(drift: Drift) -> Drift:
        loaded = Drift(LAYOUT)
        loaded.load(unpack("d", 1, pack("d", 1, drift.dump())))
        assert pack("d", 1, loaded.dump()) == pack("d", 1, drift.dump())
        return loaded

    assert [alarm for _, alarm in watched(stream, cuts, saved)] == whole


def test_a_payment_behind_its_hour_and_one_without_the_feature_change_nothing_else() -> None:
    picked = LAYOUT.indices(np.array([[5_000, 3, 1], [np.nan, 3, 1]], np.float32))
    drift, other = Drift(LAYOUT), Drift(LAYOUT)
    two = np.array([START + HOUR, START + HOUR])
    for one in (drift, other):
        one.count(two, picked, np.zeros(2, np.int64), np.array([True, False]))
    drift.count(two - HOUR, picked, np.zeros(2, np.int64), np.array([True, True]))
    assert pack("d", 1, drift.dump()) == pack("d", 1, other.dump())


def test_a_pause_longer_than_what_is_compared_is_a_new_beginning() -> None:
    stream = Stream()
    stream.at = np.where(stream.later, stream.at + 100 * DAY, stream.at)
    stream.features[stream.later, 0] *= 5
    assert "psi_amount" not in signals(watched(stream))


@pytest.mark.parametrize(
    ("before", "now", "value"),
    [
        ([50, 50], [50, 50], 0.0),
        ([50, 50], [500, 500], 0.0),
        ([50, 50], [75, 25], 0.25 * np.log(1.5) - 0.25 * np.log(0.5)),
        ([100, 0], [50, 50], -0.5 * np.log(0.5) + (0.5 - 0.005) * np.log(0.5 / 0.005)),
    ],
)
def test_stability_by_hand(before: list[int], now: list[int], value: float) -> None:
    assert stability(np.array(before), np.array(now)) == pytest.approx(value)

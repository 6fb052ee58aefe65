"""What is changed is what is said, from that time on and not before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.drift import CHANGES, flow, frozen
from bench.history import DELAY, History, late_labels, simulated
from models.features import WIDTH
from tidegate.schema import DAY, HOUR


@pytest.fixture(scope="module")
def history() -> History:
    made = simulated(3_000)
    return replace(made, labels=late_labels(made.batch, made.fraud))


def middle(history: History) -> int:
    return int(history.batch.event_time[1_500])


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_changes_before_the_time(history: History, name: str) -> None:
    at = middle(history)
    changed = CHANGES[name](history, at)
    before = history.batch.event_time < at
    assert (changed.batch.amount_minor == history.batch.amount_minor)[before].all()
    assert (changed.fraud == history.fraud)[before].all()
    old = history.labels.labelled_at - DELAY < at
    told = dict(zip(changed.labels.transaction_id, changed.labels.labelled_at, strict=True))
    early = history.labels.take(old)
    assert [told[one] for one in early.transaction_id] == early.labelled_at.tolist()


def test_new_fraud_is_at_night_small_and_told_of(history: History) -> None:
    small = replace(history.batch, amount_minor=history.batch.amount_minor % 900)
    changed = CHANGES["new fraud"](replace(history, batch=small), middle(history))
    new = changed.fraud & ~history.fraud
    assert new.any()
    assert (changed.batch.event_time[new] // HOUR % 24 < 6).all()
    assert (changed.batch.amount_minor[new] <= 600).all()
    assert set(changed.labels.transaction_id) == set(changed.batch.transaction_id[changed.fraud])


def test_amounts_grow_and_labels_stop_or_come_later(history: History) -> None:
    at = middle(history)
    later = history.batch.event_time >= at
    amounts = CHANGES["amounts"](history, at).batch.amount_minor
    assert (amounts[later] >= history.batch.amount_minor[later] * 1.6 - 1).all()
    assert CHANGES["labels stop"](history, at).labels.labelled_at.max() < at + DELAY
    late = CHANGES["labels late"](history, at).labels.labelled_at - history.labels.labelled_at
    assert set(late.tolist()) == {0, DELAY}


def test_the_flow_gives_every_decision_and_of_a_short_stream_no_alarm(
    history: History, tmp_path: Path
) -> None:
    parts, told = flow(history, tmp_path)
    assert sum(map(len, parts)) == 3_000
    assert told == []


def test_a_frozen_model_learns_nothing_from_the_change_on() -> None:
    rng = np.random.default_rng(2)
    times = np.sort(rng.integers(0, 30 * DAY, 2_000))
    features = rng.gamma(2, 40, (2_000, WIDTH)).astype(np.float32)
    fraud = rng.random(2_000) < 0.1
    at = 20 * DAY
    turned = np.where(times >= at - DELAY, ~fraud, fraud)
    assert (frozen(features, times, fraud, at) == frozen(features, times, turned, at)).all()
    assert len(set(frozen(features, times, fraud, at)[times >= at].tolist())) > 100

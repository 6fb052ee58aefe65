"""A learner is tested before it learns, and learns the same from the same examples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from models.champion import Champion
from models.drift import Alarm
from models.features import COLUMN, WIDTH
from models.learner import BATCH, CHAMPION, Learner
from models.portable import BadState, pack, unpack
from models.published import ONE
from models.quality import Quality
from models.sampling import sample
from tests.models.rows import scored
from tidegate.schema import DAY, HOUR, TRIAL, Examples, Metric, View

NOW = 17_000 * DAY


def lessons(rows: int, seed: int = 1) -> Examples:
    """Examples whose frauds have large amounts, with served scores that know nothing of it."""
    rng = np.random.default_rng(seed)
    features = rng.gamma(2, 2, (rows, WIDTH)).astype(np.float32)
    fraud = rng.random(rows) < 0.1
    features[:, COLUMN["amount"]] = np.where(fraud, 45_000, 2_500)
    return scored(rng.normal(-3, 1, rows), fraud, features=features)


def test_the_quality_of_the_first_batch_is_that_of_the_scores_that_were_served() -> None:
    given_ = lessons(2000)
    learner = Learner()
    learner.learn(given_, NOW)
    served = average_precision_score(given_.fraud, given_.log_odds)
    hindsight = average_precision_score(given_.fraud, learner.published.log_odds(given_.features))
    measured = {metric.metric: metric for metric in learner.measure(NOW)}
    for name in ("average_precision", "average_precision_7d"):
        metric = measured[name]
        assert metric.value == pytest.approx(served, abs=0.01)
        assert (metric.name, metric.at, metric.examples) == (CHAMPION.name, NOW, 2000)
    assert hindsight > served + 0.2


def served(learner: Learner) -> list[Metric]:
    """What it tells of the scores that were served."""
    return [m for m in learner.measure(NOW) if not m.metric.startswith(TRIAL)]


def test_batches_are_cut_by_count() -> None:
    given_ = lessons(2 * BATCH + 88)
    whole, parts, plain = Learner(), Learner(), Champion()
    whole.learn(given_, NOW)
    for start in range(0, len(given_), BATCH):
        part = given_.take(np.arange(start, min(start + BATCH, len(given_))))
        parts.learn(part, NOW)
        plain.learn_rows(plain.indices(part.features), part.fraud, part.weight)
    assert whole.model_version() == parts.model_version()
    assert served(whole) == served(parts)
    assert whole.published.content == plain.publish().content


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 600), max_size=4), seed=st.integers(0, 99))
def test_a_dump_in_the_middle_changes_nothing(cuts: list[int], seed: int) -> None:
    given_ = lessons(600, seed)
    straight, paused = Learner(), Learner()
    ends = [*sorted(cuts), 600]
    for hour, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        part = given_.take(np.arange(start, end))
        now = NOW + 9 * hour * HOUR
        assert straight.learn(part, now) == paused.learn(part, now)
        assert straight.measure(now) == paused.measure(now)
        assert straight.model_version() == paused.model_version()
        paused = Learner.load(paused.dump())
        assert straight.model_version() == paused.model_version()
    assert straight.dump() == paused.dump()


def test_the_same_examples_give_the_same_version_and_others_another() -> None:
    one, same, other = Learner(), Learner(), Learner()
    for learner, seed in ((one, 1), (same, 1), (other, 2)):
        learner.learn(lessons(300, seed), NOW)
    assert one.model_version() == same.model_version()
    assert one.published.version != other.published.version


def test_the_version_says_what_it_rests_on() -> None:
    given_ = lessons(300)
    learner = Learner()
    assert learner.learn(given_, NOW)
    version = learner.model_version()
    assert version.version == learner.published.version
    assert version.content == learner.published.content
    assert (version.name, version.stream_time) == (CHAMPION.name, NOW)
    assert (version.examples, version.frauds) == (300, int(given_.fraud.sum()))


def test_examples_without_weight_are_neither_learned_nor_counted() -> None:
    given_ = lessons(100)
    learner, untouched = Learner(), Learner()
    assert not learner.learn(replace(given_, weight=np.zeros(100, np.float32)), NOW)
    assert not untouched.learn(given_.take(np.zeros(100, bool)), NOW)
    assert learner.dump() == untouched.dump()
    assert learner.published.version == Champion().publish().version
    half = np.arange(100) % 2 == 0
    learner.learn(replace(given_, weight=half.astype(np.float32)), NOW)
    untouched.learn(given_.take(half), NOW)
    assert learner.dump() == untouched.dump()


def test_a_corrected_view_is_learned_as_a_new_example_and_counted_once() -> None:
    learner = Learner()
    first = lessons(200)
    learner.learn(first, NOW)
    before = learner.published.version
    mistaken = first.take(np.flatnonzero(first.fraud)[:1])
    corrected = replace(
        mistaken,
        before=np.array([View.FRAUD], np.int8),
        fraud=np.array([False]),
    )
    assert learner.learn(corrected, NOW + DAY)
    assert learner.published.version != before
    version = learner.model_version()
    assert (version.examples, version.frauds) == (200, int(first.fraud.sum()) - 1)


def test_alarms_are_told_once_and_make_learning_quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    calm, alarmed = Learner(), Learner()
    watch = alarmed._watch
    assert watch is not None
    monkeypatch.setattr(
        watch._drift, "count", lambda *given_: [Alarm("log_loss", 1.5, 100)], raising=True
    )
    for learner in (calm, alarmed):
        learner.learn(lessons(BATCH), NOW)
    told = [metric for metric in alarmed.measure(NOW) if metric.metric == "drift_log_loss"]
    assert told == [Metric(CHAMPION.name, "drift_log_loss", NOW, 1.5, 100)]
    assert not [m for m in alarmed.measure(NOW) if m.metric.startswith("drift_")]
    assert not [m for m in calm.measure(NOW) if m.metric.startswith("drift_")]
    alarmed.learn(lessons(BATCH, seed=2), NOW)
    calm.learn(lessons(BATCH, seed=2), NOW)
    assert alarmed.published.version != calm.published.version


def test_it_is_measured_once_a_day_of_the_stream() -> None:
    learner = Learner()
    learner.learn(lessons(300), NOW)
    measured = [len(learner.measure(NOW + hour * HOUR)) for hour in (0, 1, 23, 24, 47, 48)]
    assert [count > 0 for count in measured] == [True, False, False, True, False, True]


def test_a_trial_asks_the_model_before_it_learns_each_batch() -> None:
    learner, model, by_hand = Learner(), Champion(), Quality()
    for day in range(3):
        given_ = replace(lessons(2 * BATCH, day), event_time=np.full(2 * BATCH, NOW + day * DAY))
        drawn = sample(given_)
        said = []
        for part in (np.arange(BATCH), np.arange(BATCH, 2 * BATCH)):
            batch = given_.take(part)
            picked = model.indices(batch.features)
            said += model.log_odds(picked[np.isin(part, drawn.rows)]).tolist()
            model.learn_rows(picked, batch.fraud, batch.weight)
        odds = np.rint(np.array(said) * ONE).astype(np.int64)
        by_hand.count(replace(drawn.examples, log_odds=odds))
        learner.learn(given_, NOW + day * DAY)
    at = NOW + 3 * DAY
    expected = [replace(m, metric=TRIAL + m.metric) for m in by_hand.metrics("champion", at)]
    assert [m for m in learner.measure(at) if m.metric.startswith(TRIAL)] == expected != []


def test_a_trial_leaves_a_correction_alone() -> None:
    learner, other = Learner(), Learner()
    first = lessons(200)
    corrected = replace(first, before=first.fraud.astype(np.int8), fraud=~first.fraud)
    learner.learn(first, NOW)
    learner.learn(corrected, NOW)
    other.learn(first, NOW)
    tried = [
        {m.metric: m for m in of.measure(NOW) if m.metric.startswith(TRIAL)}
        for of in (learner, other)
    ]
    assert tried[0] == tried[1] != {}


def test_what_serves_gives_its_name_to_what_was_served() -> None:
    learner = Learner()
    learner.learn(lessons(300), NOW)
    names = {(m.name, m.metric.startswith(TRIAL)) for m in learner.measure(NOW, "quick")}
    assert names == {("quick", False), ("champion", True)}


def test_a_challenger_watches_nothing_and_learns_the_same() -> None:
    champion, challenger = Learner(), Learner(watches=False)
    for learner in (champion, challenger):
        learner.learn(lessons(600), NOW)
    assert challenger.model_version() == champion.model_version()
    tried = [m for m in champion.measure(NOW) if m.metric.startswith(TRIAL)]
    assert challenger.measure(NOW) == tried != []
    again = Learner.load(challenger.dump(), watches=False)
    assert again.dump() == challenger.dump()


def test_what_an_earlier_release_saved_is_gone_on_from() -> None:
    learner = Learner()
    learner.learn(lessons(300), NOW)
    arrays = unpack("learner", 1, learner.dump())
    before = {name: a for name, a in arrays.items() if name != "known" and TRIAL not in name}
    again = Learner.load(pack("learner", 1, before))
    assert again.model_version() == learner.model_version()


def test_served_log_odds_are_those_of_the_published_version() -> None:
    learner = Learner()
    learner.learn(lessons(2000), NOW)
    odds = learner.published.log_odds(lessons(200, seed=9).features) / ONE
    fraud = lessons(200, seed=9).fraud
    assert odds[fraud].min() > odds[~fraud].max()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_refused(data: st.DataObject) -> None:
    place = data.draw(st.one_of(st.integers(0, 80), st.integers(0, len(SAVED) - 1)))
    flipped = bytearray(SAVED)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (bytes(flipped), SAVED[:place]):
        with pytest.raises(BadState):
            Learner.load(damaged)


SAVED = Learner().dump()

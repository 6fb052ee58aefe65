"""An evaluation sees every label as late as life would show it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dataflows.evaluate import NoLabels, Scored, evaluate
from models.policy import Policy
from models.roster import HANDBOOK
from tests.dataflows.streams import START, frauds, labels, payments, simulated, write, write_history
from tidegate.readers import UnreadableFile
from tidegate.schema import DAY, HOUR, Batch

DELAY = 3


@pytest.fixture(scope="module")
def world() -> tuple[Batch, set[str]]:
    """Twelve days of payments, and which of them are fraud."""
    batch, told = simulated(5_000, 12, seed=11)
    return batch, frauds(told)


def scores(directory: Path, batch: Batch, fraud: set[str]) -> Scored:
    paths = write(directory, batch, labels([]))
    return evaluate(
        [write_history(directory / "history.parquet", paths[0], fraud)], delay_days=DELAY
    )


def test_an_evaluation_is_the_same_every_time(
    tmp_path: Path, world: tuple[Batch, set[str]]
) -> None:
    batch, fraud = world
    first, second = (scores(tmp_path / name, batch, fraud) for name in ("a", "b"))
    assert len(first.transaction_id) == len(batch)
    assert Counter(first.transaction_id) == Counter(batch.transaction_id)
    for name in ("transaction_id", "event_time", "score", "log_odds", "fraud"):
        assert getattr(first, name).tolist() == getattr(second, name).tolist()
    assert set(first.transaction_id[first.fraud]) == fraud
    assert (np.diff(first.event_time) >= 0).all()


def known_from(at: int) -> int:
    """The first moment of the stream at which a label of a payment at `at` may be known."""
    return -(-(at + DELAY * DAY) // HOUR) * HOUR


def test_no_step_sees_a_label_early(tmp_path: Path, world: tuple[Batch, set[str]]) -> None:
    batch, fraud = world
    # A terminal goes bad on the sixth day: all its payments from then on are fraud. Who saw the
    # labels early would catch them.
    names, count = np.unique(batch.terminal_id.astype(str), return_counts=True)
    bad = names[int(np.argmax(count))]
    day = START + 5 * DAY
    here = (batch.terminal_id == bad) & (batch.event_time >= day)
    planted = set(batch.transaction_id[here])
    assert len(planted) > 30
    with_them = scores(tmp_path / "with", batch, fraud | planted)
    without = scores(tmp_path / "without", batch, fraud - planted)
    told_first = known_from(int(batch.event_time[here].min()))
    before = with_them.event_time < told_first
    assert before.sum() > 2_000
    assert (with_them.log_odds[before] == without.log_odds[before]).all()
    # From then on they are caught.
    those = ~before & np.isin(with_them.transaction_id.astype(str), sorted(planted))
    assert with_them.log_odds[those].mean() > without.log_odds[those].mean()


@pytest.mark.parametrize("days", [4, 7])
def test_labels_that_are_turned_over_change_no_score_before_they_are_known(
    tmp_path: Path, world: tuple[Batch, set[str]], days: int
) -> None:
    batch, fraud = world
    cut = START + days * DAY
    late = set(batch.transaction_id[batch.event_time >= cut])
    turned = (fraud - late) | (late - fraud)
    true, false = scores(tmp_path / "true", batch, fraud), scores(tmp_path / "false", batch, turned)
    before = true.event_time < known_from(int(batch.event_time[batch.event_time >= cut].min()))
    assert (true.log_odds[before] == false.log_odds[before]).all()
    assert (true.score[before] == false.score[before]).all()
    assert (true.log_odds[~before] != false.log_odds[~before]).any()


def test_payments_after_a_row_change_nothing_of_it(
    tmp_path: Path, world: tuple[Batch, set[str]]
) -> None:
    batch, fraud = world
    whole = scores(tmp_path / "whole", batch, fraud)
    half = batch.take(np.arange(2_500))
    part = scores(tmp_path / "part", half, fraud)
    known = dict(zip(whole.transaction_id, whole.log_odds.tolist(), strict=True))
    assert [known[name] for name in part.transaction_id] == part.log_odds.tolist()


def test_a_model_of_some_features_alone_is_scored_and_explained_by_them(
    tmp_path: Path, world: tuple[Batch, set[str]]
) -> None:
    batch, fraud = world
    known = fraud | set(batch.transaction_id[::3])  # so many that some payments are flagged
    history = write_history(tmp_path / "h.parquet", write(tmp_path, batch, labels([]))[0], known)
    some = evaluate([history], delay_days=DELAY, champion=HANDBOOK)
    every = evaluate([history], delay_days=DELAY)
    assert some.transaction_id.tolist() == every.transaction_id.tolist()
    assert (some.log_odds != every.log_odds).any()
    assert (some.score > Policy().review).any()


def test_several_files_are_one_history(tmp_path: Path, world: tuple[Batch, set[str]]) -> None:
    batch, fraud = world
    batch = batch.take(np.arange(3_000))
    paths = []
    for name, rows in (("a", np.arange(1_234)), ("b", np.arange(1_234, 3_000))):
        part, _ = write(tmp_path / name, batch.take(rows), labels([]))
        paths.append(write_history(tmp_path / f"{name}.parquet", part, fraud))
    apart = evaluate(paths, delay_days=DELAY)
    together = scores(tmp_path / "one", batch, fraud)
    assert apart.transaction_id.tolist() == together.transaction_id.tolist()
    assert apart.log_odds.tolist() == together.log_odds.tolist()


def test_every_row_is_told_as_it_is_scored(tmp_path: Path) -> None:
    batch = payments(["a", "b", "c"], [START, START + DAY, START + 2 * DAY])
    paths = write(tmp_path, batch, labels([]))
    history = write_history(tmp_path / "history.parquet", paths[0], {"a"})
    told: list[int] = []
    found = evaluate([history], delay_days=DELAY, on_rows=told.append)
    assert sum(told) == 3
    assert found.fraud.tolist() == [True, False, False]
    assert ((found.score > 0) & (found.score < 1)).all()


def test_a_history_without_labels_is_refused(tmp_path: Path) -> None:
    paths = write(tmp_path, payments(["a"], [START]), labels([]))
    with pytest.raises(NoLabels, match=r"transactions\.parquet has no column fraud"):
        evaluate([paths[0]])
    with pytest.raises(UnreadableFile):
        evaluate([tmp_path / "missing.parquet"])


def test_an_empty_history_gives_no_scores(tmp_path: Path) -> None:
    paths = write(tmp_path, payments([], []), labels([]))
    found = evaluate([write_history(tmp_path / "history.parquet", paths[0], set())])
    assert len(found.score) == 0

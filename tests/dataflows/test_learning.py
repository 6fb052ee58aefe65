"""Models learn side by side, one of them serves, and a promotion changes all shards at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from bytewax.testing import run_main

from dataflows.feedback import LabelBook
from dataflows.files import FileSource, Input, open_files
from dataflows.history import DatabaseHistory
from dataflows.learning import ChallengeStep, LearnStep
from dataflows.memory import MemoryStore
from dataflows.messages import Lesson, Outcome, Release
from dataflows.routes import Routes
from dataflows.runner import RunFailed, run
from dataflows.scoring import Plan, build
from dataflows.sink import OutcomeSink
from dataflows.store import partitions
from models.learner import CHAMPION
from models.outside import Outside
from models.policy import Policy
from models.portable import BadState
from models.roster import Challenger, challengers
from tests.api.rows import put_metric
from tests.dataflows.streams import a_run, query, simulated, write
from tests.models.rows import scored
from tidegate import metrics
from tidegate.readers import LabelFile
from tidegate.schema import DAY, HOUR, SECOND, Decisions, Metric, View, texts
from tidegate.store import connection, models, promotions

MATURITY = 2.0
NOW = 17_000 * DAY
QUICK, LOGISTIC = challengers(["quick", "logistic"])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write(tmp_path_factory.mktemp("world"), *simulated(2_500, 6, seed=4))


class Switched(MemoryStore):
    """A store in memory that says which model serves, by the number of steps so far."""

    def __init__(self, parts: list[Decisions], keys: Sequence[str], turns: dict[int, str]) -> None:
        self.told: list[Metric] = []
        super().__init__(partitions(keys), 100 * DAY, parts.append, self.told.extend)
        self._turns = turns
        self._asked = -1
        self._now = CHAMPION.name

    def serving(self) -> str:
        self._asked += 1
        self._now = self._turns.get(self._asked, self._now)
        return self._now


def scored_by(
    files: tuple[Path, Path], names: Sequence[str], turns: dict[int, str], shards: int = 3
) -> tuple[list[Decisions], list[Metric]]:
    """The decisions, step by step, and all metrics of a run in memory."""
    parts: list[Decisions] = []
    keys = Routes(shards).keys
    store = Switched(parts, keys, turns)
    labels, dead = LabelFile(files[1]).read()
    given = Input(open_files([files[0]], None), LabelBook(labels), dead, round(MATURITY * DAY))
    source = FileSource(given, store, threading.Event())
    # Nothing is declined, so that what is learned does not depend on who decides.
    plan = Plan(shards, Policy(decline=1.0), MATURITY, challengers=challengers(names))
    run_main(build(source, OutcomeSink(keys, store), plan))
    return parts, store.told


def by_id(parts: Sequence[Decisions]) -> dict[str, tuple[int, str]]:
    """Log-odds and model version of each payment."""
    return {
        name: (odds, part.model_version)
        for part in parts
        for name, odds in zip(part.batch.transaction_id, part.log_odds.tolist(), strict=True)
    }


def test_challengers_change_nothing_while_they_do_not_serve(files: tuple[Path, Path]) -> None:
    alone, _ = scored_by(files, [], {})
    beside, told = scored_by(files, ["quick", "book", "logistic", "half-space"], {})
    assert by_id(beside) == by_id(alone)
    tried = {m.name for m in told if m.metric == "trial_average_precision_7d"}
    assert tried == {"champion", "quick", "book", "logistic", "half-space"}
    served = {m.name for m in told if m.metric == "average_precision_7d"}
    assert served == {"champion"}


def test_a_promotion_changes_the_model_of_all_shards_with_one_step(
    files: tuple[Path, Path],
) -> None:
    champion = by_id(scored_by(files, ["quick"], {})[0])
    quick = by_id(scored_by(files, ["quick"], {0: "quick"})[0])
    assert {version for _, version in quick.values()} - {v for _, v in champion.values()}
    parts, told = scored_by(files, ["quick"], {70: "quick", 95: "champion"})
    found = by_id(parts)
    times = sorted({part.stream_time for part in parts})
    for place, at in enumerate(times):
        wanted = quick if 70 <= place < 95 else champion
        here = [name for part in parts if part.stream_time == at for name in by_id([part])]
        assert [found[name] for name in here] == [wanted[name] for name in here], place
    assert len(times) > 100
    named = [m.name for m in told if m.metric == "average_precision_7d"]
    assert {"champion", "quick"} == set(named)


def lesson(number: int, name: str, serving: str = "champion", rows: int = 300) -> Lesson:
    rng = np.random.default_rng(number)
    features = rng.gamma(2, 2, (rows, 40)).astype(np.float32)
    found = scored(rng.normal(size=rows), rng.random(rows) < 0.1, NOW, features=features)
    found = replace(found, transaction_id=texts([f"p-{number}-{n}" for n in range(rows)]))
    return Lesson(number, NOW + number * HOUR, found, name, serving)


def sent(step: LearnStep | ChallengeStep, *lessons: Lesson) -> list[Release | Outcome]:
    found, _ = step.on_batch(list(lessons))
    return list(found)


def releases(found: Sequence[Release | Outcome]) -> list[tuple[int, bool]]:
    """The steps that are released for, and whether with a version."""
    return [(one.number, one.version is not None) for one in found if isinstance(one, Release)]


def no_news(number: int, name: str, serving: str) -> Lesson:
    return lesson(number, name, serving, rows=0)


def test_exactly_the_model_that_serves_releases_and_at_once_with_a_version() -> None:
    champion, quick = LearnStep(None, CHAMPION), ChallengeStep(None, (QUICK,))
    serving = ["champion", "champion", "quick", "quick", "champion", "champion"]
    given = [
        (no_news(n, "champion", name), no_news(n, "quick", name)) for n, name in enumerate(serving)
    ]
    first = [releases(sent(champion, one)) for one, _ in given]
    second = [releases(sent(quick, one)) for _, one in given]
    assert first == [[(0, True)], [(1, False)], [], [], [(4, True)], [(5, False)]]
    assert second == [[], [], [(2, True)], [(3, False)], [], []]


@pytest.mark.parametrize("of", [QUICK, LOGISTIC], ids=lambda of: of.name)
def test_a_challenger_goes_on_from_its_snapshot_as_if_nothing_had_been(
    of: Challenger,
) -> None:
    if isinstance(of, Outside):
        of = replace(of, microseconds=1e9)
    straight, paused = ChallengeStep(None, (of,)), ChallengeStep(None, (of,))
    given = [lesson(24 * n, of.name) for n in range(6)]
    given = [replace(one, number=n) for n, one in enumerate(given)]
    for one in given:
        assert sent(straight, one) == sent(paused, one)
        paused = ChallengeStep(paused.snapshot(), (of,))
        assert paused.snapshot() == paused.snapshot()  # before a lesson: as it was
    assert sent(straight, replace(given[0], number=6, now=NOW + 400 * HOUR)) == sent(
        paused, replace(given[0], number=6, now=NOW + 400 * HOUR)
    )


def test_a_challenger_that_is_switched_on_later_begins_where_the_stream_is() -> None:
    step = ChallengeStep(None, (QUICK,))
    assert releases(sent(step, lesson(41, "quick"), lesson(40, "quick"))) == []
    assert releases(sent(step, no_news(42, "quick", "quick"))) == [(42, True)]
    again = ChallengeStep(step.snapshot(), (QUICK,))  # off for a while
    assert releases(sent(again, no_news(57, "quick", "champion"))) == []


def test_a_challenger_of_another_release_begins_anew_and_a_damaged_one_is_refused() -> None:
    assert isinstance(LOGISTIC, Outside)
    step = ChallengeStep(None, (LOGISTIC,))
    sent(step, lesson(0, "logistic"))
    other = replace(LOGISTIC, megabytes=LOGISTIC.megabytes + 1)
    again = ChallengeStep(step.snapshot(), (other,))
    assert sent(again, lesson(1, "logistic")) is not None
    with pytest.raises(BadState):
        sent(ChallengeStep(step.snapshot()[:-9], (LOGISTIC,)), lesson(1, "logistic"))


def test_how_late_frauds_became_known_is_measured_once_by_the_champion() -> None:
    def told() -> tuple[float, float]:
        delay = metrics.LABEL_DELAY_SECONDS
        return sum(bucket.get() for bucket in delay._buckets), delay._sum.get()

    (count, total), asked = told(), lesson(1, "champion")
    sent(LearnStep(None, CHAMPION), replace(asked, number=0))
    known = asked.examples.fraud & (asked.examples.before != View.FRAUD)
    assert 0 < known.sum() == told()[0] - count
    assert told()[1] - total == pytest.approx(known.sum() * HOUR / SECOND)
    sent(ChallengeStep(None, (QUICK,)), lesson(0, "quick"))
    assert told()[0] - count == known.sum()


def test_one_that_is_suspended_is_shown() -> None:
    assert isinstance(LOGISTIC, Outside)
    step = ChallengeStep(None, (replace(LOGISTIC, microseconds=0.001),))
    for number in range(12):
        sent(step, lesson(number, "logistic", rows=1_000))
    shown = metrics.MODEL_SUSPENDED.labels("logistic")._value.get()
    assert shown == 1


def test_a_flow_is_promoted_and_taken_back_through_the_database(
    files: tuple[Path, Path], database: str, tmp_path: Path
) -> None:
    given = a_run(database, tmp_path / "recovery", files, challengers=("quick",), pace=500.0)
    seen = 0

    def promoted(outcomes: Sequence[Outcome]) -> None:
        nonlocal seen
        before = seen
        seen += sum(len(o.decisions) for o in outcomes if o.decisions is not None)
        with connection.connect(database, application_name="tidegate-test") as conn:
            if before < 800 <= seen:
                promotions.promote(conn, "quick", actor="test")
            if before < 1_700 <= seen:
                promotions.rollback(conn, actor="test")

    assert run(given, promoted)
    rows = query(database, "SELECT stream_time, model_version FROM score ORDER BY stream_time")
    with connection.connect(database, application_name="tidegate-test") as conn:
        found = [
            version.name
            for name in dict.fromkeys(name for _, name in rows)
            if (version := models.read_version(conn, name)) is not None
        ]
    turns = [name for n, name in enumerate(found) if n == 0 or found[n - 1] != name]
    assert turns == ["champion", "quick", "champion"]


def test_a_flow_without_the_model_that_was_promoted_does_not_start(
    files: tuple[Path, Path], database: str, tmp_path: Path
) -> None:
    given = a_run(database, tmp_path / "recovery", files, challengers=("quick",))
    assert run(given)
    with connection.connect(database, application_name="tidegate-test") as conn:
        promotions.promote(conn, "quick", actor="test")
    with pytest.raises(RunFailed, match="quick was promoted and is none of TIDEGATE_CHALLENGERS"):
        run(replace(given, challengers=()))


def better(conn: connection.Conn, name: str, value: float) -> None:
    put_metric(conn, "trial_average_precision_7d", 0, value, name=name)
    put_metric(conn, "trial_frauds_7d", 0, 200, name=name)


@pytest.mark.parametrize("switched_on", [True, False])
def test_a_challenger_that_did_better_is_promoted_by_itself_only_where_that_is_switched_on(
    database: str, switched_on: bool
) -> None:
    with connection.connect(database, application_name="tidegate-test") as conn:
        running = [
            promotions.RunningModel(name, "", servable=True) for name in ("champion", "quick")
        ]
        promotions.write_models(conn, running)
        better(conn, "champion", 0.6)
        better(conn, "quick", 0.7)
    promotes = partial(promotions.automatic, margin=0.05, frauds=100)
    history = (
        DatabaseHistory(database, [], promotes=promotes)
        if switched_on
        else DatabaseHistory(database, [])
    )
    with closing(history):
        assert history.serving() == ("quick" if switched_on else "champion")
    found = query(database, "SELECT model, actor, automatic FROM promotion")
    assert found == ([("quick", "tidegate", True)] if switched_on else [])


def test_the_model_that_serves_is_looked_up_again(database: str) -> None:
    with closing(DatabaseHistory(database, [])) as history:
        assert history.serving() == "champion"
        with connection.connect(database, application_name="tidegate-test") as conn:
            running = [promotions.RunningModel("quick", "", servable=True)]
            promotions.write_models(conn, running)
            promotions.promote(conn, "quick", actor="test")
        deadline = time.monotonic() + 30
        while history.serving() != "quick":
            assert time.monotonic() < deadline
            time.sleep(0.01)

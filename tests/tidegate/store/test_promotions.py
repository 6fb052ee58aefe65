"""One model serves at a time, whoever promotes; each change is written down and can be undone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from tests.api.rows import at, put_metric
from tidegate.store import promotions
from tidegate.store.connection import Conn, connect
from tidegate.store.promotions import NothingToUndo, NotServable, RunningModel, ServesAlready
from tidegate.store.stats import Point

DAY = 86_400
MODELS = [
    RunningModel("champion", "the additive one", True),
    RunningModel("forest", "an adaptive forest", False),
    RunningModel("quick", "the champion with larger steps", True),
    RunningModel("slow", "the champion with smaller steps", True),
]

promote = partial(promotions.promote, actor="ann")
rollback = partial(promotions.rollback, actor="bob")
automatic = partial(promotions.automatic, margin=0.02, frauds=50)


@pytest.fixture
def conn(everywhere: Conn) -> Conn:
    promotions.write_models(everywhere, MODELS)
    return everywhere


def judge(conn: Conn, name: str, value: float, *, frauds: float = 120, days: float = 0) -> None:
    """Writes what a model was measured to be."""
    put_metric(conn, "trial_average_precision_7d", days * DAY, value, name=name)
    put_metric(conn, "trial_frauds_7d", days * DAY, frauds, name=name)


def audited(conn: Conn) -> list[tuple[Any, ...]]:
    rows = conn.execute("SELECT actor, action, subject, before, after FROM audit ORDER BY audit_id")
    return rows.fetchall()


def test_the_champion_serves_until_another_is_promoted(conn: Conn) -> None:
    assert promotions.serving(conn) == "champion"
    promote(conn, "quick")
    assert promotions.serving(conn) == "quick"


def test_a_promotion_says_everything_of_itself(conn: Conn) -> None:
    judge(conn, "champion", 0.7, days=3)
    done = promotions.promote(conn, "quick", actor="ann", reason="better on Mondays")
    (now,) = conn.execute("SELECT now()").fetchone() or (None,)
    assert (done.model, done.before, done.at) == ("quick", "champion", now)
    assert (done.actor, done.reason) == ("ann", "better on Mondays")
    assert (done.automatic, done.undoes, done.judged_at) == (False, None, at(3 * DAY))
    assert promotions.history(conn, limit=9) == [done]


def test_promotions_and_rollbacks_are_written_into_the_audit(conn: Conn) -> None:
    promote(conn, "quick")
    rollback(conn)
    champion, quick = {"serving": "champion"}, {"serving": "quick"}
    assert audited(conn) == [
        ("ann", "model.promote", "quick", champion, quick),
        ("bob", "model.rollback", "champion", quick, champion),
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nobody", "the flow runs no model nobody; it runs: champion, forest, quick"),
        ("slow", "the flow no longer runs slow; it runs: champion, forest, quick"),
        ("forest", "forest cannot serve: only models that are published as weights can"),
    ],
)
def test_what_cannot_serve_is_refused_in_one_sentence(conn: Conn, name: str, why: str) -> None:
    promotions.write_models(conn, MODELS[:3])
    with pytest.raises(NotServable) as refused:
        promote(conn, name)
    assert str(refused.value) == why
    assert isinstance(refused.value, promotions.UnknownModel) == (name == "nobody")
    assert (promotions.history(conn, limit=1), audited(conn)) == ([], [])


def test_where_no_flow_was_started_none_runs(conn: Conn) -> None:
    conn.execute("DELETE FROM model")
    with pytest.raises(NotServable, match="no model quick; it runs: none"):
        promote(conn, "quick")


def test_the_model_that_serves_is_not_promoted_again(conn: Conn) -> None:
    with pytest.raises(ServesAlready, match="champion serves already"):
        promote(conn, "champion")
    promote(conn, "quick")
    with pytest.raises(ServesAlready, match="quick serves already"):
        promote(conn, "quick")
    assert promote(conn, "champion").before == "quick"


def test_a_start_of_the_flow_replaces_what_runs(conn: Conn) -> None:
    started = promotions.known(conn)
    conn.commit()
    promotions.write_models(conn, [RunningModel("quick", "another one", False)])
    known = promotions.known(conn)
    assert list(known) == ["champion", "forest", "quick", "slow"]
    assert [model.running for model in known.values()] == [False, False, True, False]
    quick = known["quick"]
    assert (quick.description, quick.servable) == ("another one", False)
    assert quick.started_at > started["quick"].started_at
    assert known["slow"].started_at == started["slow"].started_at
    promotions.write_models(conn, [])
    assert not any(model.running for model in promotions.known(conn).values())


def test_every_rollback_goes_one_step_further_back(conn: Conn) -> None:
    first = promote(conn, "quick")
    second = promote(conn, "slow")
    back = rollback(conn, reason="worse")
    assert (back.model, back.before, back.undoes) == ("quick", "slow", second.promotion_id)
    assert (back.actor, back.reason, back.automatic) == ("bob", "worse", False)
    back = rollback(conn)
    assert (back.model, back.before, back.undoes) == ("champion", "quick", first.promotion_id)
    with pytest.raises(NothingToUndo):
        rollback(conn)
    assert promotions.serving(conn) == "champion"


def test_a_promotion_after_a_rollback_is_undone_before_the_earlier_ones(conn: Conn) -> None:
    promote(conn, "quick")
    promote(conn, "slow")
    rollback(conn)
    promote(conn, "champion")
    assert [rollback(conn).model for _ in range(2)] == ["quick", "champion"]
    with pytest.raises(NothingToUndo):
        rollback(conn)
    rows = list(reversed(promotions.history(conn, limit=9)))
    assert all(one.model == next_one.before for one, next_one in pairwise(rows))


def test_without_a_promotion_there_is_nothing_to_undo(conn: Conn) -> None:
    with pytest.raises(NothingToUndo, match="no promotion to take back"):
        rollback(conn)


def test_a_model_that_can_no_longer_serve_is_not_gone_back_to(conn: Conn) -> None:
    promote(conn, "quick")
    promote(conn, "slow")
    promotions.write_models(conn, [model for model in MODELS if model.name != "quick"])
    with pytest.raises(NotServable, match="no longer runs quick"):
        rollback(conn)
    assert promotions.serving(conn) == "slow"


def test_a_promotion_is_undone_once(conn: Conn) -> None:
    done = promote(conn, "quick")
    rollback(conn)
    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute(
            "INSERT INTO promotion (model, before, actor, undoes) VALUES ('a', 'b', 'c', %s)",
            (done.promotion_id,),
        )


def test_the_history_comes_newest_first_in_pages_that_meet_each_once(conn: Conn) -> None:
    for name in ("quick", "slow", "champion", "quick", "slow"):
        promote(conn, name)
    first = promotions.history(conn, limit=2)
    rest = promotions.history(conn, limit=9, after=first[-1].promotion_id)
    found = [promotion.model for promotion in first + rest]
    assert found == ["slow", "quick", "champion", "slow", "quick"]
    assert promotions.history(conn, limit=9, after=rest[-1].promotion_id) == []


def test_standings_tell_the_newest_finite_figures_of_the_models_that_run(conn: Conn) -> None:
    promotions.write_models(conn, MODELS[:3])
    promote(conn, "quick")
    judge(conn, "champion", 0.6, days=1)
    judge(conn, "champion", 0.7, frauds=90, days=2)
    judge(conn, "champion", float("nan"), days=3)
    judge(conn, "slow", 0.9, days=2)
    put_metric(conn, "suspended", DAY, 17, name="forest")
    put_metric(conn, "average_precision_7d", DAY, 0.1, name="quick")
    champion, forest, quick = promotions.standings(conn)
    assert (champion.name, champion.description) == ("champion", "the additive one")
    assert (champion.servable, champion.serving) == (True, False)
    assert champion.average_precision == Point(at(2 * DAY), 0.7, 100)
    assert champion.frauds == Point(at(3 * DAY), 120, 100)
    assert champion.suspended is None
    assert (forest.name, forest.servable, forest.serving) == ("forest", False, False)
    assert forest.suspended == Point(at(DAY), 17, 100)
    assert (quick.name, quick.servable, quick.serving) == ("quick", True, True)
    assert (quick.average_precision, quick.frauds) == (None, None)


def test_the_better_model_is_promoted_by_itself(conn: Conn) -> None:
    judge(conn, "champion", 0.7)
    judge(conn, "quick", 0.74)
    judge(conn, "slow", 0.72)
    done = automatic(conn)
    assert done is not None
    assert (done.model, done.before, done.undoes) == ("quick", "champion", None)
    assert (done.actor, done.automatic, done.judged_at) == ("tidegate", True, at(0))
    assert done.reason == "average precision .740 against .700 over 120 frauds"
    champion, quick = {"serving": "champion"}, {"serving": "quick"}
    assert audited(conn) == [("tidegate", "model.promote", "quick", champion, quick)]
    assert automatic(conn) is None
    assert promotions.history(conn, limit=9) == [done]


Prepare = Callable[[Conn], object]


def instead(name: str, metric: str, value: float, seconds: float = 0) -> Prepare:
    """Makes what was measured of a model another value, of another time."""
    return lambda conn: conn.execute(
        "UPDATE model_metric SET value = %s, at = %s WHERE name = %s AND metric = %s",
        (value, at(seconds), name, metric),
    )


PRECISION, FRAUDS = "trial_average_precision_7d", "trial_frauds_7d"
WORSE: dict[str, Prepare] = {
    "nothing was measured": lambda conn: conn.execute("DELETE FROM model_metric"),
    "the best one serves": instead("champion", PRECISION, 0.8),
    "the best one cannot serve": lambda conn: promotions.write_models(
        conn, [*MODELS[:2], RunningModel("quick", "", False)]
    ),
    "the best one no longer runs": lambda conn: promotions.write_models(conn, MODELS[:2]),
    "the one that serves does not run": lambda conn: promotions.write_models(conn, MODELS[1:]),
    "the best one has newer figures": lambda conn: judge(conn, "quick", 0.8, days=1),
    "the one that serves has newer figures": lambda conn: judge(conn, "champion", 0.1, days=1),
    "there are too few frauds": instead("quick", FRAUDS, 49),
    "the frauds are of another time": instead("quick", FRAUDS, 50, seconds=-1),
    "it is not better by the margin": instead("quick", PRECISION, 0.719),
    "there is no number": instead("quick", PRECISION, float("nan")),
}


@pytest.mark.parametrize("case", WORSE)
def test_no_model_is_promoted_by_itself_where(conn: Conn, case: str) -> None:
    promotions.write_models(conn, MODELS[:3])
    judge(conn, "champion", 0.7)
    judge(conn, "quick", 0.74, frauds=50)
    WORSE[case](conn)
    assert automatic(conn) is None
    assert promotions.history(conn, limit=1) == []


def test_at_its_bounds_a_model_is_promoted_by_itself_and_an_equal_one_never(conn: Conn) -> None:
    judge(conn, "champion", 0.5)
    judge(conn, "quick", 0.5, frauds=50)
    assert automatic(conn, margin=0) is None
    judge(conn, "champion", 0.5, days=1)
    judge(conn, "quick", 0.75, frauds=50, days=1)
    assert automatic(conn, margin=0.2500001) is None
    assert automatic(conn, margin=0.25) is not None


@pytest.mark.parametrize("by_hand", [False, True])
def test_seven_days_of_the_stream_lie_between_a_promotion_and_the_next_automatic_one(
    conn: Conn, by_hand: bool
) -> None:
    judge(conn, "champion", 0.7)
    judge(conn, "quick", 0.8)
    first = promote(conn, "quick") if by_hand else automatic(conn)
    assert first is not None
    judge(conn, "champion", 0.8, days=6.999)
    judge(conn, "quick", 0.7, days=6.999)
    assert automatic(conn) is None
    judge(conn, "champion", 0.8, days=7)
    judge(conn, "quick", 0.7, days=7)
    second = automatic(conn)
    assert second is not None
    assert (second.model, second.judged_at) == ("champion", at(7 * DAY))


def test_after_a_rollback_nothing_is_promoted_by_itself_until_a_person_promotes(conn: Conn) -> None:
    judge(conn, "champion", 0.7)
    judge(conn, "quick", 0.8)
    assert automatic(conn) is not None
    rollback(conn)
    for name, value in (("champion", 0.7), ("quick", 0.8), ("slow", 0.6)):
        judge(conn, name, value, days=30)
    assert automatic(conn) is None
    promote(conn, "slow")
    assert automatic(conn) is None
    for name, value in (("champion", 0.7), ("quick", 0.8), ("slow", 0.6)):
        judge(conn, name, value, days=37)
    done = automatic(conn)
    assert done is not None
    assert (done.model, done.before) == ("quick", "slow")


def test_an_automatic_promotion_can_be_taken_back(conn: Conn) -> None:
    judge(conn, "champion", 0.7)
    judge(conn, "quick", 0.8)
    done = automatic(conn)
    assert done is not None
    assert rollback(conn).undoes == done.promotion_id
    assert promotions.serving(conn) == "champion"


@pytest.mark.parametrize("change", [partial(promote, model="quick"), rollback, automatic])
def test_outside_of_a_transaction_nothing_is_promoted(
    conn: Conn, change: Callable[[Conn], object]
) -> None:
    judge(conn, "champion", 0.7)
    judge(conn, "quick", 0.8)
    conn.commit()
    conn.autocommit = True
    with pytest.raises(RuntimeError, match="in a transaction"):
        change(conn)
    with conn.transaction():
        promote(conn, "quick")


Racer = Callable[[Conn], object]


def prepare(conn: Conn) -> None:
    """A flow that runs, and a model that is better than the one that serves."""
    promotions.write_models(conn, MODELS)
    judge(conn, "champion", 0.7)
    judge(conn, "quick", 0.8)
    conn.commit()


def race(database: str, first: Racer, second: Racer) -> tuple[Any, Any]:
    """What two sessions got, the second of which began before the first one committed."""
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(connect(database, application_name=name)) for name in "ab"
        )
        thread = stack.enter_context(ThreadPoolExecutor(1))
        prepare(one)
        got = first(one)
        waits = thread.submit(second, other)
        with pytest.raises(TimeoutError):
            waits.result(0.3)
        one.commit()
        other_got = waits.exception(10) or waits.result()
        other.commit()
        return got, other_got


def test_of_two_that_promote_the_second_waits_and_sees_what_the_first_did(database: str) -> None:
    quick, slow = race(database, partial(promote, model="quick"), partial(promote, model="slow"))
    assert (quick.before, slow.before) == ("champion", "quick")


def test_of_two_that_promote_the_same_model_the_second_is_refused(database: str) -> None:
    both = partial(promote, model="quick")
    assert isinstance(race(database, both, both)[1], ServesAlready)


def test_of_two_that_promote_by_themselves_one_does(database: str) -> None:
    with (
        connect(database, application_name="a") as one,
        connect(database, application_name="b") as other,
    ):
        prepare(one)
        assert automatic(one) is not None
        assert automatic(other) is None  # at once: the flow is not kept waiting
        one.commit()
        assert automatic(other) is None
        assert len(promotions.history(other, limit=9)) == 1


def test_an_automatic_promotion_sees_what_was_committed_while_it_judged(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        connect(database, application_name="a") as one,
        connect(database, application_name="b") as other,
    ):
        prepare(one)
        judge = promotions._better

        def slowly(*given: Any) -> Any:
            found = judge(*given)
            if promotions.serving(other) == "champion":
                promote(other, "slow")
                other.commit()
            return found

        monkeypatch.setattr(promotions, "_better", slowly)
        assert automatic(one) is None
        assert promotions.serving(one) == "slow"


def test_of_two_that_go_back_the_second_finds_nothing(database: str) -> None:
    def there_and_back(conn: Conn) -> object:
        promote(conn, "quick")
        conn.commit()
        return rollback(conn)

    first, second = race(database, there_and_back, rollback)
    assert first.model == "champion"
    assert isinstance(second, NothingToUndo)

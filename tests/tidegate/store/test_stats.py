from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tests.api.rows import (
    at,
    put_alert,
    put_dead_letter,
    put_label,
    put_metric,
    put_score,
    put_version,
)
from tidegate.store import aggregates, stats
from tidegate.store.totals import recount

HOUR = 3600


@pytest.fixture
def conn(everywhere):
    return everywhere


def test_an_empty_database_has_totals_of_zero(conn):
    totals = stats.totals(conn)
    assert (totals.scored, totals.frauds, totals.last_hour, totals.last_day) == (0, 0, 0, 0)
    assert totals.decisions == {"approve": 0, "review": 0, "decline": 0}
    assert totals.alerts == {"open": 0, "investigating": 0, "closed": 0}
    assert (totals.labels, totals.dead_letters, totals.metrics) == ({}, {}, {})
    assert totals.stream_time is None
    assert totals.model is None


def test_totals_count_what_is_there(conn):
    put_version(conn, "v1", 0)
    for n, hours in enumerate((0, 0.5, 1.5, 20, 30)):
        put_score(conn, f"t-{n}", -hours * HOUR)
    put_score(conn, "t-5", -2 * HOUR, decision="review")
    put_alert(conn, -2 * HOUR, transaction_id="t-5", decision="review", status="closed")
    put_score(conn, "t-6", -2 * HOUR, decision="decline")
    put_alert(conn, -2 * HOUR, transaction_id="t-6", decision="decline")
    put_label(conn, "t-5", 1, fraud=True)
    put_label(conn, "t-5", 2, fraud=False, source="analyst")
    put_label(conn, "t-6", 1, fraud=True)
    put_dead_letter(conn, 1, reason="card_number")
    put_dead_letter(conn, 2)
    put_dead_letter(conn, 3)
    recount(conn)  # dead letters are counted by who writes them
    totals = stats.totals(conn)
    assert (totals.scored, totals.approximate) == (7, False)
    assert totals.decisions == {"approve": 5, "review": 1, "decline": 1}
    assert totals.alerts == {"open": 1, "investigating": 0, "closed": 1}
    assert totals.labels == {"analyst": 1, "chargeback": 2}
    assert totals.frauds == 1
    assert totals.dead_letters == {"card_number": 1, "malformed": 2}
    assert (totals.last_hour, totals.last_day) == (2, 6)
    assert totals.stream_time == at(0)


def test_what_waits_long_to_be_counted_is_told_as_the_databases_own_estimate(conn):
    if aggregates.kind(conn) is aggregates.Kind.CONTINUOUS:
        pytest.skip("policies count there")
    for n in range(300):
        put_score(conn, f"t-{n}", n * HOUR)
    conn.execute("ANALYZE score")
    totals = stats.totals(conn, exact_below=300)
    assert (totals.scored, totals.approximate) == (300, True)
    assert (totals.last_hour, totals.last_day) == (1, 24)
    assert not stats.totals(conn, exact_below=301).approximate
    conn.commit()
    conn.autocommit = True
    aggregates.refresh(conn)
    totals = stats.totals(conn, exact_below=0)
    assert (totals.scored, totals.approximate) == (300, False)
    assert (totals.last_hour, totals.last_day) == (1, 24)


@pytest.mark.parametrize("seconds", [0, 1, 59.5, 60, 3599, 3600, 3601, 7199.999])
def test_the_last_hour_and_day_begin_to_the_microsecond(conn, seconds):
    put_score(conn, "newest", seconds)
    for name, span in (("hour", HOUR), ("day", 24 * HOUR)):
        put_score(conn, f"at {name}", seconds - span)
        put_score(conn, f"in {name}", seconds - span + 1e-6)
    totals = stats.totals(conn)
    assert (totals.last_hour, totals.last_day) == (2, 4)


def test_the_model_is_the_one_that_made_the_newest_decision(conn):
    put_version(conn, "v1", 10, name="challenger")
    assert stats.totals(conn).model == "challenger"  # nothing decided yet: the newest version's
    put_version(conn, "v2", 1, name="champion")
    put_metric(conn, "average_precision", 1, 0.5)
    put_metric(conn, "average_precision", 1, 0.9, name="challenger")
    put_score(conn, "t-1", 0, model_version="v1")
    put_score(conn, "t-2", 1, model_version="v2")
    totals = stats.totals(conn)
    assert totals.model == "champion"
    assert totals.metrics["average_precision"] == stats.Point(at(1), 0.5, 100)


def test_models_are_listed_by_name_with_what_is_newest(conn):
    put_version(conn, "v1", 1)
    put_version(conn, "v2", 2)
    put_version(conn, "w1", 3, name="amateur")
    put_metric(conn, "average_precision", 1, 0.4)
    put_metric(conn, "average_precision", 2, 0.6)
    put_metric(conn, "average_precision_7d", 1, 0.7)
    put_metric(conn, "log_loss", 1, 0.1, name="measured only")
    found = stats.models(conn, limit=10)
    assert [model.name for model in found] == ["amateur", "champion", "measured only"]
    assert found[0].metrics == {}
    assert found[1].latest is not None
    assert found[1].latest.version == "v2"
    assert {name: point.value for name, point in found[1].metrics.items()} == {
        "average_precision": 0.6,
        "average_precision_7d": 0.7,
    }
    assert found[2].latest is None
    assert [m.name for m in stats.models(conn, limit=1, after="amateur")] == ["champion"]
    assert stats.models(conn, limit=1, after="measured only") == []


def test_versions_come_newest_first_in_pages_that_meet_each_once(conn):
    for n in range(9):
        put_version(conn, f"v{n}", n // 3)
    put_version(conn, "other", 1, name="challenger")
    seen, after = [], None
    while page := stats.versions(conn, "champion", limit=2, after=after):
        seen += [info.version for info in page]
        after = page[-1].stream_time, page[-1].version
    assert seen == [f"v{n}" for n in range(8, -1, -1)]


def test_a_value_that_is_no_number_is_left_out(conn):
    put_metric(conn, "average_precision", 1, 0.4)
    put_metric(conn, "average_precision", 2, math.nan)
    put_metric(conn, "average_precision", 3, math.inf)
    assert stats.latest_metrics(conn, "champion")["average_precision"].value == 0.4
    assert len(stats.series(conn, "champion", points=10)["average_precision"]) == 1


@pytest.mark.parametrize(("there", "points"), [(1, 2), (5, 10), (10, 10), (11, 10), (1000, 7)])
def test_a_series_is_thinned_evenly_and_keeps_its_newest_value(conn, there, points):
    for n in range(there):
        put_metric(conn, "average_precision", n, n / there)
    series = stats.series(conn, "champion", points=points)["average_precision"]
    assert len(series) == min(there, points)
    assert series[-1].at == at(there - 1)
    gaps = {round((later.at - earlier.at).total_seconds()) for earlier, later in pairwise(series)}
    assert len(gaps) <= 2  # as even as whole rows can be


def test_of_a_series_with_a_gap_each_equal_time_gives_its_last_value(conn):
    for seconds in (*range(20), *range(1000, 1010)):
        put_metric(conn, "average_precision", seconds, seconds)
    put_metric(conn, "accuracy", 5, 0.5)  # of another metric, few
    series = stats.series(conn, "champion", points=10)
    assert [point.value for point in series["average_precision"]] == [19, 1009]
    assert [point.value for point in series["accuracy"]] == [0.5]

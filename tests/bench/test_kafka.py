"""The benchmark of a live run measures what it says, on the real broker and the real command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import __main__, kafka
from bench.backlog import FRESH_WITHIN, fresh, old, paid, work_off
from bench.live import service, topics
from bench.open_loop import measure
from tests.kafka.broker import Broker
from tidegate.schema import DAY, HOUR


def test_every_payment_is_timed_on_its_way_through_a_run(postgres: str, broker: Broker) -> None:
    payments = paid(500, 100)
    with topics(broker) as names, service(postgres, broker, names) as run:
        felt = measure(broker, names, run.database, payments, 200.0, 0.5, run.cpu)
    assert felt.table is not None
    assert len(felt.topic) == len(felt.table) == 400
    assert felt.topic.min() > 0
    assert felt.table.min() > 0
    assert 0 < felt.cpu < 2


def test_a_bare_loop_is_timed_the_same_way(broker: Broker) -> None:
    felt = kafka.bare_loop(broker, paid(300, 100), 200.0, 0.5)
    assert felt.table is None
    assert len(felt.topic) == 200
    assert felt.topic.min() > 0
    assert 0 < felt.cpu < 1


def test_a_backlog_of_weeks_is_worked_off(postgres: str, broker: Broker) -> None:
    payments, labels = old(2_000, 10)
    assert 7 * DAY < payments.event_time[-1] - payments.event_time[0] <= 10 * DAY
    assert len(labels) > 0
    assert labels.labelled_at.max() < payments.event_time[-1]
    worked = work_off(postgres, broker, payments, labels)
    assert 0 < worked.whole < worked.rate
    assert worked.cpu > 0


def test_a_backlog_of_minutes_is_of_minutes() -> None:
    payments, labels = fresh(1_000)
    assert len(payments) == 1_000
    assert len(labels) == 0
    assert (np.diff(payments.event_time) >= 0).all()
    assert payments.event_time[-1] - payments.event_time[0] < FRESH_WITHIN < HOUR


@pytest.mark.parametrize(("named", "code"), [(["kafka"], 1), ([], 0)])
def test_without_java_it_says_what_is_missing_and_only_fails_who_asked_for_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    named: list[str],
    code: int,
) -> None:
    monkeypatch.setattr(kafka, "lacking", lambda: "it needs Java")
    monkeypatch.setattr(__main__, "BENCHMARKS", {"kafka": kafka.bench})
    assert __main__.main([*named, "--quick", "--out", str(tmp_path)]) == code
    assert "kafka left out: it needs Java" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

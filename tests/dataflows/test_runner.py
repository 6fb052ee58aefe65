"""A run over files: the same bits on any number of workers, however it is stopped."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataflows.evaluate import evaluate
from dataflows.recovery import MANIFEST, stored_steps
from dataflows.runner import Run, RunFailed, run
from dataflows.scoring import FLOW, FROM_FILES
from models.policy import Policy
from tests.dataflows.streams import (
    START,
    Row,
    a_run,
    frauds,
    labels,
    late_labels,
    payments,
    query,
    remembered,
    simulated,
    stored,
    write,
    write_history,
)
from tidegate import metrics
from tidegate.schema import DAY, HOUR, Batch, Decision, Labels, texts
from tidegate.store.decisions import alert_id

pytestmark = pytest.mark.usefixtures("signals")

ROWS, DAYS, MATURITY = 6_000, 5, 1.0


@dataclass(frozen=True)
class History:
    """Payments, with a label for each fraud exactly a day after it, when silence counts too."""

    batch: Batch
    labels: Labels
    fraud: set[str]
    paths: tuple[Path, Path]


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    batch, told = simulated(ROWS, DAYS, seed=21)
    fraud = frauds(told)
    late = late_labels(batch, fraud, MATURITY)
    return History(batch, late, fraud, write(tmp_path_factory.mktemp("history"), batch, late))


@dataclass(frozen=True)
class Undisturbed:
    """What one worker made of the history, in one go; metrics are what was counted."""

    stored: dict[str, list[Row]]
    remembered: dict[Any, Any]
    counted: dict[str, float]


BESIDE = ("quick", "logistic")  # the challengers


def whole_run(database: str, recovery: Path, history: History, workers: int = 1) -> Run:
    given = a_run(database, recovery, history.paths, maturity_days=MATURITY, workers=workers)
    return replace(given, challengers=BESIDE)


@pytest.fixture(scope="session")
def undisturbed(
    history: History, new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    database, recovery = new_database(), tmp_path_factory.mktemp("undisturbed") / "recovery"
    before = counted()
    assert run(whole_run(database, recovery, history))
    after = counted()
    return Undisturbed(
        stored(database),
        compared(remembered(recovery)),
        {name: after[name] - before[name] for name in OUTCOMES},
    )


def sample(metric: str, **labels_of: str) -> float:
    return metrics.REGISTRY.get_sample_value(metric, labels_of) or 0.0


OUTCOMES = ("approve", "review", "decline", "repeat", "dead_letter")


def counted() -> dict[str, float]:
    return {name: sample("tidegate_transactions_total", outcome=name) for name in OUTCOMES}


def test_two_workers_store_the_same_bits_as_one(
    history: History, undisturbed: Undisturbed, database: str, recovery: Path
) -> None:
    assert run(whole_run(database, recovery, history, workers=2))
    found = stored(database)
    for table, rows in undisturbed.stored.items():
        assert found[table] == rows, table
    assert compared(remembered(recovery)) == undisturbed.remembered


def test_an_evaluation_gives_the_scores_of_a_run(
    history: History, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    paper = write_history(tmp_path / "history.parquet", history.paths[0], history.fraud)
    expected = evaluate([paper], delay_days=MATURITY)
    odds = dict(zip(expected.transaction_id, expected.log_odds.tolist(), strict=True))
    assert {row["transaction_id"]: row["log_odds"] for row in scores(undisturbed)} == odds


def test_every_transaction_has_one_row_its_decision_and_its_alert(
    history: History, undisturbed: Undisturbed
) -> None:
    rows = scores(undisturbed)
    assert Counter(row["transaction_id"] for row in rows) == Counter(history.batch.transaction_id)
    assert len({row["model_version"] for row in rows}) > 50
    odds = np.array([row["log_odds"] for row in rows])
    ids = texts([row["transaction_id"] for row in rows])
    decided = [Decision(kind).name.lower() for kind in Policy(0.3, 0.9, 20).decide(odds, ids)]
    assert decided == [row["decision"] for row in rows]
    flagged = {row["transaction_id"] for row in rows if row["decision"] != "approve"}
    alerts = {row[0]: row[1] for row in undisturbed.stored["alert"]}
    assert set(alerts) == flagged
    assert len(undisturbed.stored["alert"]) == len(flagged) > 0
    assert alerts == {name: alert_id(name) for name in flagged}
    made = {row[0] for row in undisturbed.stored["model_version"]}
    assert {row["model_version"] for row in rows} <= made


def test_labels_and_metrics_are_stored_and_counted(
    history: History, undisturbed: Undisturbed
) -> None:
    told = undisturbed.stored["label"]
    assert [(name, fraud) for name, _, _, fraud, _ in told] == sorted(
        (name, True) for name in history.fraud
    )
    measured = undisturbed.stored["model_metric"]
    figures = {
        "average_precision",
        *(
            f"{figure}_{window}"
            for window in ("1d", "7d")
            for figure in (
                "average_precision",
                "recall_1pct",
                "log_loss",
                "calibration",
                "card_precision_100",
                "frauds",
            )
        ),
    }
    tried = {f"trial_{figure}" for figure in figures}
    assert {(name, metric) for name, metric, *_ in measured} == {
        *(("champion", figure) for figure in figures),
        *((name, figure) for name in ("champion", *BESIDE) for figure in tried),
    }
    kinds = Counter(row["decision"] for row in scores(undisturbed))
    assert undisturbed.counted == {name: kinds.get(name, 0) for name in OUTCOMES}


COLUMNS = {"transaction_id": 0, "log_odds": 11, "decision": 12, "model_version": 13}


def scores(undisturbed: Undisturbed) -> list[dict[str, Any]]:
    """The stored rows of `streams.SCORES` by the names of some columns."""
    return [
        {name: row[place] for name, place in COLUMNS.items()} for row in undisturbed.stored["score"]
    ]


def compared(states: Any) -> dict[Any, Any]:
    """Snapshots but for the sink's, whose partitions end where the last snapshot found them, and
    for what holds the time that was taken."""
    return {
        name: state
        for name, state in states.items()
        if not name[0].endswith(".store") and name[1] != "logistic"
    }


@dataclass
class Started:
    """A run in a process of its own."""

    process: subprocess.Popen[str]

    def end(self, timeout: float = 60) -> tuple[int, str]:
        out, err = self.process.communicate(timeout=timeout)
        assert out == ""
        return self.process.returncode, err


def start(database: str, data: Path, paths: tuple[Path, Path], workers: int = 1) -> Started:
    env = os.environ | {
        "TIDEGATE_DATABASE_URL": database,
        "TIDEGATE_DATA_DIR": str(data),
        "TIDEGATE_SNAPSHOT_SECONDS": "0.3",
        "TIDEGATE_MATURITY_DAYS": str(MATURITY),
        "TIDEGATE_CHALLENGERS": ",".join(BESIDE),
    }
    command = [sys.executable, "-c", "from tidegate.cli import main; main()", "run"]
    payments, labels = map(str, paths)
    files = ["--transactions", payments, "--labels", labels, "--workers", str(workers)]
    return Started(
        subprocess.Popen(
            [*command, *files],
            env=env,
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )


def scored(database: str) -> int:
    return int(query(database, "SELECT count(*) FROM score")[0][0])


def wait_until_scored(database: str, rows: int, started: Started) -> None:
    deadline = time.monotonic() + 60
    while scored(database) < rows:
        assert started.process.poll() is None, started.end()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_ends_with_a_last_snapshot_and_the_next_start_finishes(
    history: History, undisturbed: Undisturbed, database: str, tmp_path: Path, workers: int
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    started = start(database, data, history.paths, workers)
    try:
        wait_until_scored(database, 1_500, started)
        started.process.send_signal(signal.SIGTERM)
        code, err = started.end()
    finally:
        started.process.kill()
    assert code == 0, err
    assert "stopped with a last snapshot" in err
    assert "Traceback" not in err
    first = dict(by_name(database))
    assert 1_500 <= len(first) < ROWS
    # The last snapshot holds everything: nothing that is stored comes again.
    states = remembered(data / "recovery")
    (stream,) = (state for (step, _), state in states.items() if step == f"{FLOW}.stream")
    sunk = [state for (step, _), state in states.items() if step == f"{FLOW}.store"]
    assert {number + 1 for number in sunk} == {stream["number"]}
    assert {int(n) for (n,) in query(database, "SELECT sequence FROM sink_progress")} == set(sunk)

    # It may be another number of workers that goes on.
    again = start(database, data, history.paths, 3 - workers)
    try:
        code, err = again.end()
    finally:
        again.process.kill()
    assert code == 0, err
    assert "the files have ended" in err
    rows = by_name(database)
    assert len(rows) == ROWS
    assert {name: row for name, row in rows.items() if name in first} == first
    assert stored(database) == undisturbed.stored
    assert compared(remembered(data / "recovery")) == undisturbed.remembered


def test_sigterm_while_the_workers_still_start_is_as_clean(
    small: tuple[Path, Path], database: str, tmp_path: Path
) -> None:
    started = start(database, tmp_path, small, 2)
    try:
        pid = started.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        deadline = time.monotonic() + 60
        while len(children.read_text().split()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        started.process.send_signal(signal.SIGTERM)
        code, err = started.end()
    finally:
        started.process.kill()
    assert code == 0, err
    assert "stopped with a last snapshot" in err
    assert scored(database) == 0
    code, err = start(database, tmp_path, small, 2).end()
    assert code == 0, err
    assert scored(database) == 6


def by_name(database: str) -> dict[str, Any]:
    columns = "transaction_id, event_time, log_odds, decision, features, model_version, scored_at"
    return {row[0]: row for row in query(database, f"SELECT {columns} FROM score")}


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """Files of a few payments."""
    at = [START + hour * HOUR for hour in range(6)]
    return write(tmp_path / "small", payments(list("abcdef"), at), labels([("a", at[2], True)]))


def test_a_run_that_has_ended_starts_again_and_does_nothing(
    small: tuple[Path, Path], database: str, recovery: Path
) -> None:
    given = a_run(database, recovery, small)
    assert run(given)
    before = stored(database), remembered(recovery)
    steps = {f"{FLOW}.{step}" for step in FROM_FILES}
    assert stored_steps(recovery) == steps - {f"{FLOW}.challenge"}
    assert run(given)
    assert (stored(database), remembered(recovery)) == before


def test_a_new_recovery_store_over_the_same_database_changes_no_decision(
    small: tuple[Path, Path], database: str, tmp_path: Path
) -> None:
    assert run(a_run(database, tmp_path / "one", small))
    before = by_name(database)
    assert run(a_run(database, tmp_path / "two", small))
    assert by_name(database) == before


def refusal(given: Any) -> str:
    with pytest.raises(RunFailed) as caught:
        run(given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_other_settings_and_other_files_are_refused(
    small: tuple[Path, Path], database: str, recovery: Path, tmp_path: Path
) -> None:
    given = a_run(database, recovery, small)
    assert run(given)
    before = stored(database)
    assert "shards 4, not 2" in refusal(replace(given, shards=2))
    assert "maturity_days" in refusal(replace(given, maturity_days=3.0))
    at = [START + hour * HOUR for hour in range(9)]
    other = write(tmp_path / "other", payments(list("abcdefghi"), at), labels([]))
    assert "same files" in refusal(a_run(database, recovery, other))
    assert "No such file" in refusal(replace(given, transactions=(str(tmp_path / "no.csv"),)))
    assert "No such file" in refusal(replace(given, labels=str(tmp_path / "no.csv")))
    assert stored(database) == before
    assert run(given)


def test_a_renamed_step_is_refused(small: tuple[Path, Path], database: str, recovery: Path) -> None:
    given = a_run(database, recovery, small)
    assert run(given)
    for part in recovery.glob("part-*.sqlite3"):
        with closing(sqlite3.connect(part)) as store:
            store.execute(
                "UPDATE snaps SET step_id = 'tidegate.profiles' WHERE step_id = 'tidegate.cards'"
            )
            store.commit()
    assert "tidegate.profiles" in refusal(given)


def test_a_database_that_lost_its_last_rows_is_refused(
    small: tuple[Path, Path], database: str, recovery: Path
) -> None:
    given = a_run(database, recovery, small)
    assert run(given)
    import psycopg

    with psycopg.connect(database) as conn:
        conn.execute("UPDATE sink_progress SET sequence = 1")
    assert "newer backup" in refusal(given)


def test_a_recovery_store_of_another_layout_is_refused(
    small: tuple[Path, Path], database: str, recovery: Path
) -> None:
    given = a_run(database, recovery, small)
    assert run(given)
    manifest = json.loads((recovery / MANIFEST).read_text())
    (recovery / MANIFEST).write_text(json.dumps(manifest | {"layout": 0}))
    assert "layout 0, not" in refusal(given)


# Ten ways in which a line may be damaged, and what is said of each.
DAMAGE: dict[str, Any] = {
    "malformed": lambda line: line[: len(line) // 2],
    "missing_field": lambda line: changed(line, terminal_id=None),
    "wrong_type": lambda line: changed(line, amount_minor="12.50"),
    "out_of_range": lambda line: changed(line, transaction_id="x" * 65),
    "bad_time": lambda line: changed(line, event_time="2026-02-30T00:00:00Z"),
    "time_without_offset": lambda line: changed(line, event_time="2026-01-05T00:00:00"),
    "unknown_currency": lambda line: changed(line, currency="EUX"),
    "negative_amount": lambda line: changed(line, amount_minor=-1),
    "card_number": lambda line: changed(line, card_token="4111111111111111"),
    "unknown_value": lambda line: changed(line, channel="carrier pigeon"),
}


def changed(line: str, **fields: Any) -> str:
    return json.dumps(json.loads(line) | fields)


def test_damaged_lines_become_dead_letters_and_all_others_are_scored(
    history: History, database: str, recovery: Path, tmp_path: Path
) -> None:
    batch = history.batch.take(np.arange(3_000))
    clean, _ = write(tmp_path / "clean", batch, history.labels, "jsonl")
    good = clean.read_text().splitlines()
    lines: list[str] = []
    bad: dict[int, str] = {}
    repeats = reused = 0
    for number, line in enumerate(good):
        lines.append(line)
        if number % 100 == 50:
            reason = list(DAMAGE)[number // 100 % len(DAMAGE)]
            bad[len(lines)] = reason
            lines.append(DAMAGE[reason](good[number - 50]))
        if number % 300 == 10:  # the same once more, after some others
            lines.append(good[number - 5])
            repeats += 1
        if number % 300 == 20:
            bad[len(lines)] = "id_reused"
            lines.append(changed(good[number - 5], amount_minor=99))
            reused += 1
    assert set(bad.values()) == {*DAMAGE, "id_reused"}
    path = tmp_path / "transactions.jsonl"
    path.write_text("\n".join(lines) + "\n")

    before = counted()
    assert run(a_run(database, recovery, (path, history.paths[1])))
    after = counted()
    rows = query(database, "SELECT transaction_id, amount_minor FROM score")
    assert Counter(name for name, _ in rows) == Counter(batch.transaction_id)
    assert dict(rows) == dict(zip(batch.transaction_id, batch.amount_minor.tolist(), strict=True))
    letters = query(database, 'SELECT "offset", reason, topic, payload FROM dead_letter')
    assert {offset: reason for offset, reason, *_ in letters} == bad
    assert len(letters) == len(bad)
    assert {topic for *_, topic, _ in letters} == {"transactions.jsonl"}
    assert not any("4111111111111111" in payload for *_, payload in letters)
    assert after["repeat"] - before["repeat"] == repeats
    assert after["dead_letter"] - before["dead_letter"] == len(bad)
    assert reused == repeats == 10


def test_a_repeat_after_more_than_a_day_is_stored_once(
    database: str, recovery: Path, tmp_path: Path
) -> None:
    at = [START, START + DAY // 2, START + 2 * DAY]
    first = payments(["a", "b", "c"], at)
    again = payments(["a"], [START])
    paths = [
        write(tmp_path / name, part, labels([])) for name, part in (("1", first), ("2", again))
    ]
    given = a_run(database, recovery, paths[0])
    given = replace(given, transactions=(str(paths[0][0]), str(paths[1][0])))
    assert run(given)
    assert sorted(by_name(database)) == ["a", "b", "c"]
    assert scored(database) == 3


def test_bad_labels_are_dead_letters_and_the_good_ones_are_stored(
    small: tuple[Path, Path], database: str, recovery: Path, tmp_path: Path
) -> None:
    told = tmp_path / "labels.csv"
    good = "a,true,issuer,2026-01-01T03:00:00Z\nb,false,analyst,2026-01-01T03:00:00Z\n"
    told.write_text(
        "transaction_id,fraud,source,labelled_at\n"
        + good
        + "c,perhaps,issuer,2026-01-01T03:00:00Z\n"
    )
    assert run(a_run(database, recovery, (small[0], told)))
    assert query(database, "SELECT transaction_id, fraud, source FROM label ORDER BY 1") == [
        ("a", True, "issuer"),
        ("b", False, "analyst"),
    ]
    assert query(database, 'SELECT topic, "offset", reason FROM dead_letter') == [
        ("labels.csv", 2, "wrong_type")
    ]


def test_files_without_a_good_row_end_at_once(
    database: str, recovery: Path, tmp_path: Path
) -> None:
    path = tmp_path / "transactions.jsonl"
    path.write_text("no\n")
    _, told = write(tmp_path, payments([], []), labels([]))
    assert run(a_run(database, recovery, (path, told)))
    assert scored(database) == 0
    assert query(database, "SELECT reason FROM dead_letter") == [("malformed",)]


def test_many_payments_of_one_card_in_one_hour_are_all_scored(
    database: str, recovery: Path, tmp_path: Path
) -> None:
    count = 500
    batch = payments(
        [f"p{number:03}" for number in range(count)],
        [START + number for number in range(count)],
        terminals=[f"t{number % 3}" for number in range(count)],
    )
    batch = replace(batch, extras={"channel": texts(["pos"] * count)})
    assert run(a_run(database, recovery, write(tmp_path, batch, labels([]))))
    assert scored(database) == count

"""The benchmarks run, and their figures hang together; how fast anything is, no test says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import __main__, columnstore
from bench.__main__ import main
from bench.history import DELAY, read, simulated
from bench.prequential import BLOCK, Batch, by_hour, in_blocks
from bench.rounds import in_turn, times
from tests.conftest import missing
from tests.timescale import pglite
from tidegate.schema import HOUR, Ints

# How many figures each has, at least.
CHEAP = {
    "learn_predict": 6,
    "features": 6,
    "trigger": 4,
    "storage": 6,
    "streams": 6,
    "alert_list": 12,
    "capacity": 12,
}


pytestmark = pytest.mark.timeout(600)  # each benchmark is run once


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cheap benchmarks on few rows; where their JSON is."""
    out = tmp_path_factory.mktemp("out")
    # In a thread: the browser of other tests has its event loop in this one.
    with ThreadPoolExecutor(1) as own:
        done = own.submit(main, [*CHEAP, "--quick", "--rows", "2000", "--out", str(out)])
        assert done.result() == 0
    return out


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The benchmark that needs TimescaleDB, as the cheap ones."""
    if not pglite.installed():
        missing(pglite.NEEDS)
    out = tmp_path_factory.mktemp("out")
    assert main(["columnstore", "--quick", "--rows", "2000", "--out", str(out)]) == 0
    return out


def told(out: Path, name: str) -> dict[str, Any]:
    return json.loads((out / f"{name}.json").read_text())


def by_name(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["what"]: one for one in report["figures"]}


@pytest.mark.parametrize("name", CHEAP)
def test_every_figure_is_sound_and_within_its_range(ran: Path, name: str) -> None:
    sound(told(ran, name), name, CHEAP[name])


def sound(report: dict[str, Any], name: str, figures: int) -> None:
    assert report["name"] == name
    assert report["quick"] is True
    assert report["rows"] > 0
    assert report["machine"]["river"]
    assert len(by_name(report)) == len(report["figures"]) >= figures
    for one in report["figures"]:
        assert math.isfinite(one["value"])
        assert 0 <= one["least"] <= one["value"] <= one["greatest"]
        assert (one["ratio"] is None) == (one["beside"] == "")
        if "precision" in one["what"]:
            assert one["value"] <= 1
        elif one["unit"] == "% of the time":
            assert one["value"] <= 100
        else:
            assert one["least"] > 0


def test_learning_and_scoring_take_what_both_take(ran: Path) -> None:
    figures = by_name(told(ran, "learn_predict"))
    for model in ("champion", "scaler | regression", "Hoeffding tree", "leveraging bagging"):
        learn, score, both = (
            figures[f"{model}: {part}"] for part in ("learn", "score", "learn and score")
        )
        assert both["greatest"] >= learn["least"] + score["least"]


def test_features_are_measured_for_every_size_even_and_hot(ran: Path) -> None:
    figures = by_name(told(ran, "features"))
    assert {name.split(",")[0] for name in figures} == {"as paid", "hot terminal"}
    assert len(figures) == 8
    assert [name for name, one in figures.items() if one["ratio"] is None] == [
        "as paid, batches of 2,000"
    ]


def test_the_columnstore_is_measured_beside_the_same_rows(compressed: Path) -> None:
    report = told(compressed, "columnstore")
    sound(report, "columnstore", 7)
    assert report["rows"] == 2_000
    figures = by_name(report)
    after = figures["a decision in the columnstore"]
    before = figures[after["beside"]]
    assert after["value"] == pytest.approx(after["ratio"] * before["value"])
    assert after["value"] < before["value"]
    assert figures["its indexes"]["value"] < before["value"]


@pytest.mark.parametrize(("named", "code"), [(["columnstore"], 1), ([], 0)])
def test_without_timescaledb_it_says_what_is_missing_and_only_fails_who_asked_for_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    named: list[str],
    code: int,
) -> None:
    monkeypatch.setattr(pglite, "installed", lambda: False)
    monkeypatch.setattr(__main__, "BENCHMARKS", {"columnstore": columnstore.bench})
    assert main([*named, "--quick", "--out", str(tmp_path)]) == code
    assert f"columnstore left out: {pglite.NEEDS}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_table_shows_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "--quick", "--rows", "1000", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for what in by_name(told(tmp_path, "features")):
        assert what in shown
    assert "µs CPU a row" in shown


def test_a_history_of_ones_own_is_measured(tmp_path: Path) -> None:
    path = simulated(1_500).write_labelled(tmp_path)
    arguments = ["features", "--quick", "--rows", "1000", "--data", str(path)]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert told(tmp_path, "features")["rows"] == 500


def test_a_written_history_is_read_back_with_its_frauds(tmp_path: Path) -> None:
    made = simulated(3_000)
    found = read(made.write_labelled(tmp_path), 2_000)
    assert found.batch.transaction_id.tolist() == made.batch.transaction_id[:2_000].tolist()
    assert found.fraud.tolist() == made.fraud[:2_000].tolist()
    assert found.fraud.any()
    assert len(found.labels) == found.fraud.sum()


def test_a_file_that_is_not_there_is_said_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["features", "--data", str(tmp_path / "none.parquet"), "--out", str(tmp_path)]
    assert main(arguments) == 1
    assert "features failed:" in capsys.readouterr().err


@pytest.mark.parametrize("batches", [in_blocks, by_hour])
def test_no_row_is_learned_before_its_label_is_known_and_none_twice(
    batches: Callable[[Ints], Iterator[Batch]],
) -> None:
    times_paid = np.arange(20 * 24 * 8) * (HOUR // 8)
    learned = 0
    scored = 0
    for start, stop, learning in batches(times_paid):
        if learning:
            assert start == learned
            assert 0 < stop - start <= BLOCK
            assert times_paid[stop - 1] + DELAY <= times_paid[scored]
            learned = stop
        else:
            assert start == scored
            scored = stop
    assert scored == len(times_paid)
    assert learned > scored / 2


def test_contenders_take_turns_in_going_first() -> None:
    order: list[str] = []

    def goes(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = in_turn({"a": lambda: goes("a"), "b": lambda: goes("b")}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}
    assert times([1.0, 9.0, 2.0], [1.0, 3.0, 1.0]) == 2.0

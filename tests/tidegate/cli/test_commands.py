"""What the commands do, from the outside."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

import migrations
from tests.dataflows.streams import frauds, query, simulated, write, write_history
from tests.tidegate.cli.conftest import Command

WORLD = ["--customers", 30, "--terminals", 20, "--days", 5]


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that the embedded server's user can reach, too."""
    directory = Path(tempfile.mkdtemp(prefix="tidegate-test-"))
    yield directory
    shutil.rmtree(directory)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_simulate_writes_both_files_and_the_same_ones_again(
    tidegate: Command, tmp_path: Path, format: str
) -> None:
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    for directory, seed in ((first, 5), (second, 5), (other, 6)):
        told = tidegate("simulate", "--out", directory, *WORLD, "--seed", seed, "--format", format)
        assert told.returncode == 0, told.stderr
        assert told.stderr == ""
        names = [f"transactions.{format}", f"labels.{format}"]
        assert told.stdout.splitlines() == [str(directory / name) for name in names]
        assert sorted(path.name for path in directory.iterdir()) == sorted(names)
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
        assert path.read_bytes() != (other / path.name).read_bytes()


def test_evaluate_prints_json_lines_by_week_and_writes_scores(
    tidegate: Command, tmp_path: Path
) -> None:
    batch, told = simulated(2_000, 10, seed=9)
    fraud = frauds(told)
    paths = write(tmp_path, batch, told)
    history = write_history(tmp_path / "history.parquet", paths[0], fraud)
    out = tmp_path / "scores.parquet"
    said = tidegate("evaluate", "--data", history, "--delay-days", "2", "--scores", out)
    assert said.returncode == 0, said.stderr
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    assert [line["week"] for line in lines] == ["2026-01-01", "2026-01-08", "all"]
    assert [set(line) for line in lines] == [
        {"week", "transactions", "frauds", "average_precision"}
    ] * 3
    assert [sum(line[what] for line in lines[:2]) for what in ("transactions", "frauds")] == [
        lines[2]["transactions"],
        lines[2]["frauds"],
    ]
    assert (lines[2]["transactions"], lines[2]["frauds"]) == (2_000, len(fraud))
    assert 0 < lines[2]["average_precision"] <= 1
    table = pq.read_table(out)
    assert table.column_names == ["transaction_id", "score"]
    assert sorted(table["transaction_id"].to_pylist()) == sorted(batch.transaction_id)
    assert all(0 < score < 1 for score in table["score"].to_pylist())


def test_migrate_may_be_called_again(tidegate: Command, empty_database: str) -> None:
    for _ in range(2):
        told = tidegate("migrate", DATABASE_URL=empty_database)
        assert told.returncode == 0, told.stderr
        assert migrations.head() in told.stderr
    assert migrations.current(empty_database) == migrations.head()


def test_run_scores_files_and_says_what_it_did(
    tidegate: Command, tmp_path: Path, database: str
) -> None:
    paths = write(tmp_path, *simulated(1_000, 2, seed=3))
    run = ["run", "--transactions", paths[0], "--labels", paths[1]]
    first = tidegate(*run, DATABASE_URL=database, LOG_FORMAT="json", MATURITY_DAYS="1")
    assert first.returncode == 0, first.stderr
    assert first.stdout == ""
    last = json.loads(first.stderr.splitlines()[-1])
    assert (last["message"], last["transactions"]) == ("the files have ended", 1_000)
    assert query(database, "SELECT count(*) FROM score") == [(1_000,)]
    again = tidegate(*run, DATABASE_URL=database, LOG_FORMAT="json", MATURITY_DAYS="1")
    assert json.loads(again.stderr.splitlines()[-1])["transactions"] == 0
    other = tidegate(*run, DATABASE_URL=database, SHARDS="2", MATURITY_DAYS="1")
    assert other.returncode == 1
    assert "shards 4, not 2" in other.stderr.splitlines()[-1]
    assert "Traceback" not in other.stderr


def test_the_demo_prints_one_line_and_a_second_one_changes_nothing(
    tidegate: Command, home: Path
) -> None:
    def demo() -> dict[str, object]:
        arguments = ["--transactions", 3_000, "--exit", "--port", free_port()]
        # The database that is set is left alone; nobody would answer there.
        told = tidegate("demo", *arguments, DATA_DIR=str(home))
        assert told.returncode == 0, told.stderr
        assert "Traceback" not in told.stderr
        (line,) = told.stdout.splitlines()
        found: dict[str, object] = json.loads(line)
        return found

    first = demo()
    keys = "transactions decisions labels dead_letters average_precision seconds"
    assert list(first) == keys.split()
    assert first["transactions"] == 3_000
    decisions = first["decisions"]
    assert isinstance(decisions, dict)
    assert set(decisions) == {"approve", "review", "decline"}
    assert sum(decisions.values()) == 3_000
    assert first["dead_letters"] == 0
    labels = pq.read_table(home / "demo-3000" / "labels.parquet")
    assert first["labels"] == labels.num_rows > 0
    assert isinstance(first["average_precision"], float)
    assert 0 < first["average_precision"] <= 1
    assert isinstance(first["seconds"], float)
    assert 0 < first["seconds"] < 120
    # Everything that was decided can be made again.
    audited = tidegate("audit-replay", DATABASE_URL="", DATA_DIR=str(home / "demo-3000"))
    assert (audited.returncode, audited.stdout) == (0, "3,000 decisions, 0 differ\n")
    second = demo()
    assert {**second, "seconds": 0} == {**first, "seconds": 0}
    # Its server is gone with it.
    server = home / "demo-3000" / "postgresql" / "socket"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"postgresql://postgres@/tidegate?host={server}")

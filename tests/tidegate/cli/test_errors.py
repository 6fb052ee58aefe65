"""What goes wrong in a known way is said in one line."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dataflows.streams import START, labels, payments, write
from tests.tidegate.cli.conftest import Command


@pytest.fixture
def port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield int(taken.getsockname()[1])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path, payments(["a"], [START]), labels([]))


def refusal(tidegate: Command, *arguments: object, **settings: str) -> str:
    """The one line, with nothing before it but what was logged on the way."""
    told = tidegate(*arguments, **settings, LOG_FORMAT="json")
    assert told.returncode == 1, told
    assert told.stdout == ""
    *logged, line = told.stderr.splitlines()
    assert {json.loads(one)["level"] for one in logged} <= {"info"}
    assert line.startswith("tidegate: ")
    return line


def test_a_file_that_is_not_there(tidegate: Command, tmp_path: Path, database: str) -> None:
    missing = tmp_path / "missing.parquet"
    told = refusal(tidegate, "evaluate", "--data", missing)
    assert told == f"tidegate: {missing}: No such file or directory"
    told = refusal(tidegate, "run", "--transactions", missing, DATABASE_URL=database)
    assert told == f"tidegate: {missing}: No such file or directory"


def test_a_file_of_another_kind(tidegate: Command, tmp_path: Path) -> None:
    path = tmp_path / "transactions.xlsx"
    path.write_text("x")
    assert ".parquet, .csv" in refusal(tidegate, "evaluate", "--data", path)


def test_a_history_without_a_column_fraud(tidegate: Command, files: tuple[Path, Path]) -> None:
    assert "no column fraud" in refusal(tidegate, "evaluate", "--data", files[0])


def test_labels_that_cannot_be_read(
    tidegate: Command, files: tuple[Path, Path], database: str, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.parquet"
    bad.write_text("not Parquet")
    run = ["run", "--transactions", files[0], "--labels", bad]
    assert str(bad) in refusal(tidegate, *run, DATABASE_URL=database)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"WORKERS": "5"}, "at most as many as shards"),
        ({"SHARD": "4"}, "the nearest one is TIDEGATE_SHARDS"),
    ],
)
def test_a_setting_that_is_wrong(
    tidegate: Command, files: tuple[Path, Path], settings: dict[str, str], names: str
) -> None:
    assert names in refusal(tidegate, "run", "--transactions", files[0], **settings)


def test_more_workers_than_shards(tidegate: Command, files: tuple[Path, Path]) -> None:
    run = ["run", "--transactions", files[0], "--workers", "9"]
    assert "TIDEGATE_WORKERS" in refusal(tidegate, *run)


def test_a_database_that_does_not_answer(tidegate: Command, files: tuple[Path, Path]) -> None:
    for command in (["migrate"], ["run", "--transactions", files[0]]):
        assert "/nowhere" in refusal(tidegate, *command)


def test_a_password_is_not_repeated(tidegate: Command, files: tuple[Path, Path]) -> None:
    url = "postgresql://me:secret@127.0.0.1:1/none"
    assert "secret" not in refusal(tidegate, "migrate", DATABASE_URL=url)


def test_a_schema_that_is_not_migrated(
    tidegate: Command, files: tuple[Path, Path], empty_database: str
) -> None:
    run = ["run", "--transactions", files[0]]
    told = refusal(tidegate, *run, DATABASE_URL=empty_database)
    assert "run tidegate migrate" in told


def test_labels_without_their_payments(tidegate: Command) -> None:
    assert "--transactions" in refusal(tidegate, "run", "--labels", "labels.parquet")


def test_a_port_that_is_taken(tidegate: Command, port: int, database: str) -> None:
    demo = ["demo", "--transactions", "1000", "--exit", "--port", port]
    told = tidegate(*demo, DATABASE_URL=database)
    assert told.returncode == 1
    assert f"tidegate: port {port} is taken" in told.stderr.splitlines()[-1]
    assert "Traceback" not in told.stderr
    told = tidegate("api", "--port", port, DATABASE_URL=database)
    assert told.returncode != 0
    assert "address already in use" in told.stderr
    assert "Traceback" not in told.stderr


def test_an_output_directory_that_is_a_file(tidegate: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    told = refusal(tidegate, "simulate", "--out", tmp_path / "file", "--customers", 1, "--days", 1)
    assert str(tmp_path / "file") in told
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate"],
        ["simulate", "--out", "x", "--terminals", "3"],
        ["simulate", "--out", "x", "--format", "xml"],
        ["evaluate", "--data", "x.csv", "--delay-days", "nan"],
        ["evaluate", "--data", "x.csv", "--currency", "EUX"],
        ["run", "--transactions", "x.csv", "--currency", "EUX"],
        ["api", "--port", "0"],
        ["demo", "--transactions", "many"],
        ["nothing"],
        ["run", "--nothing"],
    ],
)
def test_an_option_that_is_wrong_is_a_matter_of_usage(
    tidegate: Command, arguments: list[str]
) -> None:
    told = tidegate(*arguments)
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in told.stderr

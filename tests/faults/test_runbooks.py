"""The commands of docs/operations/runbooks print what is written there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.runbooks import FOLDER, alike, parsed, place, play, rendered
from tests.faults.scales import long
from tests.kafka.broker import Broker
from tests.kafka.fixtures import need_kafka

ALL = [path for path in sorted(FOLDER.glob("*.md")) if "```console" in path.read_text()]


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=long(600)) for path in ALL]
)
def test_what_a_runbook_shows_is_what_happens(path: Path, postgres: str) -> None:
    need_kafka()
    with Broker() as broker, place(postgres, broker) as shell:
        for command, printed in play(parsed(path.read_text()), shell):
            assert alike(command.printed, printed), f"$ {command.text}\n" + "\n".join(printed)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_a_runbook_is_read_as_it_is_written(path: Path) -> None:
    text = path.read_text()
    assert rendered(parsed(text)) == text


def test_there_is_a_runbook_for_each_that_the_list_names_and_the_list_names_each() -> None:
    listed = (FOLDER / "README.md").read_text()
    assert {path.name for path in FOLDER.glob("*.md")} == {
        "README.md",
        *(line.split("(")[1].split(")")[0] for line in listed.splitlines() if "](" in line[:40]),
    } - {"../deploy.md"}


@pytest.mark.parametrize(
    ("written", "printed", "same"),
    [
        (["12810|12810"], ["7|7"], True),
        (["1,000 decisions, 0 differ"], ["1,000 decisions, 3 differ"], False),
        (["09:13:28.533 info    it stopped"], ["11:00:00.001 info    it stopped"], True),
        (["id  of    at"], ["id  of        at"], True),
        (["key evyzoixqpxpc is revoked"], ["key zkrvqd7pchwt is revoked"], True),
        (["first", "...", "last"], ["first", "a", "b", "last"], True),
        (["it stopped"], ["it failed"], False),
        ([], ["Traceback"], False),
        (["it stopped"], [], False),
    ],
)
def test_numbers_and_ids_may_differ_and_words_may_not(
    written: list[str], printed: list[str], same: bool
) -> None:
    assert alike(written, printed) is same

"""`make faults`: every fault, often and for long, and a table of what came of it.

.venv/bin/python -m tests.faults [what pytest takes]
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scales import SEED

HEAD = ("fault", "times", "lost", "doubled", "changed", "seconds to recover")


class Table:
    """Collects what the scenarios say of themselves (`KafkaPlace.finish`)."""

    def __init__(self) -> None:
        self._lines: list[dict[str, Any]] = []
        self._notes: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of every test, also of those that fail."""
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == "fault":
                self._lines.append(json.loads(str(value)))
            elif name == "note":
                self._notes.append(str(value))
        for line in report.capstdout.splitlines():
            if line.startswith(f"{SEED}="):
                self._notes.append(f"{line} {report.nodeid}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints the table."""
        if not self._lines:
            return
        terminalreporter.section("faults")
        for line in rows(self._lines):
            terminalreporter.write_line(line)
        for note in self._notes:
            terminalreporter.write_line(note)


def rows(lines: Iterable[dict[str, Any]]) -> list[str]:
    """The table as text, columns aligned."""
    cells = [HEAD]
    for line in lines:
        seconds = line["seconds"]
        took = "-"
        if len(seconds) == 1:
            took = f"{seconds[0]:.1f}"
        elif seconds:
            took = f"median {statistics.median(seconds):.1f}, worst {max(seconds):.1f}"
        counts = (str(line[name]) for name in HEAD[1:5])
        cells.append((line["fault"], *counts, took))
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    return [
        " | ".join(
            text.rjust(width) if 0 < column < 5 else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


if __name__ == "__main__":
    given = sys.argv[1:]
    if not any(Path(word.split("::")[0]).exists() for word in given):
        given = ["tests/faults", *given]
    sys.exit(pytest.main(["-m", "long", "-p", "no:randomly", "-v", *given], plugins=[Table()]))

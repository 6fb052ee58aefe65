"""What a benchmark found, as a table for people and as JSON for whoever compares runs."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

_PACKAGES = ("bytewax", "numpy", "psycopg", "river")


@dataclass(frozen=True)
class Figure:
    """One measured value: the median over rounds, with the least and the greatest of them.

    ratio: how many times the figure of `beside` it is.
    """

    what: str
    value: float
    unit: str
    least: float
    greatest: float
    ratio: float | None = None
    beside: str = ""


def figure(
    what: str,
    measured: Sequence[float],
    unit: str,
    ratio: float | None = None,
    beside: str = "",
) -> Figure:
    """The figure of what was measured in each round."""
    return Figure(what, median(measured), unit, min(measured), max(measured), ratio, beside)


@dataclass(frozen=True)
class Report:
    """What one benchmark found, and on how much. notes: what to know when reading the figures."""

    name: str
    rows: int
    rounds: int
    figures: Sequence[Figure]
    notes: Sequence[str] = field(default=())

    def write(self, directory: Path, quick: bool) -> Path:
        """Writes `<name>.json` into the directory, and returns its path."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.name}.json"
        told = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": quick,
            "machine": {
                "processors": os.cpu_count(),
                "architecture": platform.machine(),
                "python": platform.python_version(),
                **{name: version(name) for name in _PACKAGES},
            },
            **asdict(self),
        }
        path.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
        return path


def table(reports: Sequence[Report]) -> Table:
    """All figures, one a line."""
    made = Table(title="median of all rounds (least to greatest)", title_justify="left")
    made.add_column("benchmark")
    made.add_column("what", overflow="fold")
    made.add_column("figure", justify="right")
    made.add_column("range", justify="right")
    made.add_column("unit")
    made.add_column("times", justify="right")
    made.add_column("beside")
    for report in reports:
        for number, one in enumerate(report.figures):
            spread = f"{_shown(one.least)} to {_shown(one.greatest)}"
            made.add_row(
                "" if number else report.name,
                one.what,
                _shown(one.value),
                "" if one.least == one.greatest else spread,
                one.unit,
                "" if one.ratio is None else f"{one.ratio:.2f}",
                one.beside,
                end_section=number == len(report.figures) - 1,
            )
    return made


def show(reports: Sequence[Report]) -> None:
    """Prints the table, and what to know when reading it."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=150)
    console.print(table(reports))
    for report in reports:
        for note in report.notes:
            console.print(f"{report.name}: {note}", highlight=False, markup=False)


def say(line: str) -> None:
    """A line on standard error for who waits."""
    print(line, file=sys.stderr, flush=True)


def _shown(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.2g}"

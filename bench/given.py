"""What a benchmark is given: how large to be, and data that several of them share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import history, served
from bench.history import History
from bench.report import say
from bench.served import Rows
from tidegate.schema import Decisions


@dataclass
class Given:
    """quick: smaller, fewer rounds. data: a labelled file in place of simulated payments. rows: in
    place of each benchmark's own number. directory: for files, gone at the end."""

    directory: Path
    quick: bool = False
    data: Path | None = None
    rows: int | None = None
    _histories: dict[int, History] = field(default_factory=dict)
    _decisions: dict[int, list[Decisions]] = field(default_factory=dict)

    def size(self, full: int, quick: int) -> int:
        """How many rows to take."""
        return self.rows or (quick if self.quick else full)

    def part(self, full: int, quick: int) -> int:
        """How many of them to take for what needs fewer."""
        own = quick if self.quick else full
        return own if self.rows is None else min(own, self.rows)

    def rounds(self, full: int) -> int:
        """How many rounds to measure; the figures of one alone are not worth quoting."""
        return 1 if self.quick else full

    def history(self, rows: int) -> History:
        """So many payments, or as many as the file has; made once."""
        if rows not in self._histories:
            say(f"  {'simulating' if self.data is None else 'reading'} {rows:,} payments")
            made = history.simulated(rows) if self.data is None else history.read(self.data, rows)
            self._histories[rows] = made
        return self._histories[rows]

    def decisions(self, rows: int) -> list[Decisions]:
        """What the flow decides on that history; made once."""
        if rows not in self._decisions:
            past = self.history(rows)
            say(f"  scoring {len(past.batch):,} payments once, for their features")
            with TemporaryDirectory(dir=self.directory) as directory:
                self._decisions[rows] = served.decide(past, Path(directory))
        return self._decisions[rows]

    def served(self, rows: int) -> Rows:
        """The features that the flow serves for that history."""
        return served.rows_of(self.decisions(rows), self.history(rows))

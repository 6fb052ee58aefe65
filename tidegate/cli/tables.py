"""Tables as text: aligned in a pipe, fitted to its width on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text


def show(lines: Sequence[Sequence[str]], *, whole: Collection[str]) -> None:
    """Prints the lines, the first of which names the columns; those of `whole` are not folded."""
    lines = [tuple(map(_plain, line)) for line in lines]
    if not sys.stdout.isatty():
        # For pipes: all of it, aligned, whatever the width of the terminal.
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            parts = (text.ljust(width) for text, width in zip(line, widths, strict=True))
            typer.echo("  ".join(parts).rstrip())
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    filled = [column for column in zip(*lines, strict=True) if any(column[1:])]
    for name, *_ in filled:
        table.add_column(name, no_wrap=name in whole, overflow="fold")
    for cells in list(zip(*filled, strict=True))[1:]:
        table.add_row(*map(Text, cells))  # as text: what is in brackets is no markup
    Console().print(table)


def _plain(text: str) -> str:
    # A file's name, for one, may hold what a terminal would obey.
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)

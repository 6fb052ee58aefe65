"""`tidegate simulate`: payments and labels as files."""

from __future__ import annotations

from pathlib import Path

import typer

from tidegate import simulate
from tidegate.cli.progress import bar


def write(
    directory: Path, customers: int, terminals: int, days: int, seed: int, format: str
) -> None:
    """Writes the two files and says where they are."""
    directory.mkdir(parents=True, exist_ok=True)
    done = 0
    with bar("simulating days", days) as advance:

        def progress(so_far: int, total: int) -> None:
            nonlocal done
            advance(so_far - done)
            done = so_far

        paths = simulate.write(
            directory, customers, terminals, days, seed, format, progress=progress
        )
    for path in paths:
        typer.echo(path)

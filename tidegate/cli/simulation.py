"""`tidegate simulate`: payments and labels as files, or as messages."""

from __future__ import annotations

from pathlib import Path

import typer

from tidegate import simulate
from tidegate.cli.progress import bar
from tidegate.settings import Kafka

_BAR = "simulating days"


def write(
    directory: Path, customers: int, terminals: int, days: int, seed: int, format: str
) -> None:
    """Writes the two files and says where they are."""
    directory.mkdir(parents=True, exist_ok=True)
    done = 0
    with bar(_BAR, days) as advance:

        def progress(so_far: int, total: int) -> None:
            nonlocal done
            advance(so_far - done)
            done = so_far

        paths = simulate.write(
            directory, customers, terminals, days, seed, format, progress=progress
        )
    for path in paths:
        typer.echo(path)


def send(
    kafka: Kafka, customers: int, terminals: int, days: int, seed: int, rate: float | None
) -> None:
    """Sends the same to the two topics, which are made if they are missing, and says how much it
    was. rate: payments a second, None for as fast as it goes."""
    from tidegate.kafka import admin
    from tidegate.kafka.feeding import feeding

    admin.ensure_topics(kafka)
    parts = simulate.known(customers, terminals, days, seed)
    with bar(_BAR, days) as advance, feeding(kafka, rate) as feeder:
        for day, (batch, labels) in enumerate(parts):
            feeder.send(batch, labels)
            if day < days:  # the last part is no day, but what is known later
                advance(1)
    typer.echo(f"{feeder.payments} payments in {kafka.topics.transactions}")
    typer.echo(f"{feeder.labels} labels in {kafka.topics.labels}")

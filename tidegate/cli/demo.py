"""`tidegate demo`: everything on one machine, with nothing to install."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import typer

from dataflows.messages import Outcome
from dataflows.runner import run
from tidegate import simulate
from tidegate.cli.counting import counted
from tidegate.cli.database import migrated
from tidegate.cli.progress import bar
from tidegate.cli.scoring import described
from tidegate.cli.serving import in_background
from tidegate.settings import Settings
from tidegate.simulation.files import appearing
from tidegate.store import connection, stats

SEED = 7
_BESIDE = ("quick", "logistic")  # challengers, unless others are set
_SECONDS = 120  # that the payments take to stream in, when somebody watches


def demo(settings: Settings, transactions: int, *, exit_at_end: bool, port: int) -> None:
    """Simulates, scores, learns and serves. Demos of different sizes are kept apart.

    Always in a database of its own: simulated payments have no place in the one that is set."""
    home = settings.storage.data_dir / f"demo-{transactions}"
    home.mkdir(parents=True, exist_ok=True)
    own = replace(settings.storage, database_url=None, recovery_dir=home / "recovery")
    settings = replace(settings, storage=own)
    if not settings.learning.challengers:
        settings = replace(settings, learning=replace(settings.learning, challengers=_BESIDE))
    started = time.monotonic()
    files = _files(home, transactions)
    with (
        migrated(settings, home / "postgresql") as database,
        counted(database.url),
        in_background(database.url, port, settings) as page,
    ):
        given = described(settings, database.url, files[:1], files[1])
        if not exit_at_end:
            given = replace(given, pace=transactions / _SECONDS)
            typer.echo(f"alerts appear on {page} as labels come in; Ctrl-C ends", err=True)
        with bar("payments", transactions) as advance:

            def stored(outcomes: Sequence[Outcome]) -> None:
                advance(sum(len(o.decisions) for o in outcomes if o.decisions is not None))

            finished = run(given, stored)
        typer.echo(json.dumps(_summary(database.url, time.monotonic() - started)))
        if finished and not exit_at_end:
            typer.echo(f"all payments are scored; {page} stays until Ctrl-C", err=True)
            _wait_for_signal()


def _files(home: Path, transactions: int) -> tuple[Path, Path]:
    """The simulated payments, cut to the number asked for, and their labels; made once."""
    paths = home / "transactions.parquet", home / "labels.parquet"
    if all(path.exists() for path in paths):
        return paths
    size = simulate.sized(transactions)
    typer.echo(f"simulating {size.customers:,} customers over {size.days} days", err=True)
    batch, labels = simulate.simulate(size.customers, size.terminals, size.days, SEED)
    batch = batch.take(np.arange(transactions))
    paid = set(batch.transaction_id.tolist())
    labels = labels.take(np.array([name in paid for name in labels.transaction_id], np.bool_))
    with appearing(*paths, "parquet") as files:
        files.write(batch, labels)
    return paths


def _summary(url: str, seconds: float) -> dict[str, object]:
    with connection.connect(url, application_name="tidegate-demo") as conn:
        totals = stats.totals(conn)
    precision = totals.metrics.get("average_precision")
    return {
        "transactions": totals.scored,
        "decisions": dict(totals.decisions),
        "labels": sum(totals.labels.values()),
        "dead_letters": sum(totals.dead_letters.values()),
        "average_precision": None if precision is None else round(precision.value, 4),
        "seconds": round(seconds, 1),
    }


def _wait_for_signal() -> None:
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    told.wait()

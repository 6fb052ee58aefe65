"""`tidegate replay` and `tidegate audit-replay`: what was decided, made again and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby

import typer

from models.published import ONE
from models.replay import CannotReplay, Replayer
from tidegate.cli.database import usable
from tidegate.schema import Decision
from tidegate.settings import Settings
from tidegate.store import connection, models, replays
from tidegate.store.connection import Conn
from tidegate.store.replays import Made

_SHOWN = 20  # differences that are told one by one


def replay(settings: Settings, transaction_id: str) -> None:
    """Prints the stored decision beside the one made again; exits with 1 where they differ.

    Raises `replay.CannotReplay`."""
    with usable(settings) as database, _looking(database.url) as conn:
        stored = replays.made(conn, transaction_id)
        if stored is None:
            typer.echo(f"tidegate: there is no decision on {transaction_id!r}", err=True)
            raise typer.Exit(1)
        ((log_odds, decision),) = _again(_replayer(conn), [stored])
    typer.echo(f"transaction  {stored.transaction_id}, of {stored.event_time.isoformat()}")
    typer.echo(f"model        {stored.model_version}")
    typer.echo(f"policy       {stored.policy_version}")
    typer.echo(f"stored       {_words(stored.log_odds, stored.decision)}")
    typer.echo(f"made again   {_words(log_odds, decision)}")
    if (log_odds, decision) != (stored.log_odds, stored.decision):
        typer.echo("tidegate: they differ", err=True)
        raise typer.Exit(1)


def audit(settings: Settings, most: int) -> None:
    """Makes a sample of decisions again and prints how many differ; exits with 1 where one does,
    or where one cannot be made again."""
    count, different, lost = 0, 0, Counter[str]()
    with usable(settings) as database, _looking(database.url) as conn:
        replayer = _replayer(conn)
        for run in replays.sample(conn, most):
            count += len(run)
            for _, group in groupby(run, key=_alike):
                rows = list(group)
                try:
                    again = _again(replayer, rows)
                except CannotReplay as ex:
                    lost[str(ex)] += len(rows)
                    continue
                for stored, made in zip(rows, again, strict=True):
                    if made != (stored.log_odds, stored.decision):
                        different += 1
                        _tell(stored, made, different)
    for reason, number in lost.items():
        typer.echo(f"tidegate: {number:,} cannot be made again: {reason}", err=True)
    typer.echo(f"{count:,} decisions, {different:,} differ")
    if different or lost:
        raise typer.Exit(1)


@contextmanager
def _looking(url: str) -> Iterator[Conn]:
    with connection.connect(url, application_name="tidegate-replay") as conn:
        conn.read_only = True
        yield conn


def _replayer(conn: Conn) -> Replayer:
    return Replayer(partial(models.read_version, conn), partial(models.read_policy, conn))


def _alike(row: Made) -> tuple[str, str, int]:
    """What rows share that are made again at once."""
    return row.model_version, row.policy_version, len(row.features)


def _tell(stored: Made, made: tuple[int, str], number: int) -> None:
    if number <= _SHOWN:
        typer.echo(
            f"{stored.transaction_id}: stored {_words(stored.log_odds, stored.decision)}, "
            f"made again {_words(*made)}",
            err=True,
        )


def _again(replayer: Replayer, rows: Sequence[Made]) -> list[tuple[int, str]]:
    """Log-odds and decision of rows that are alike."""
    model, policy, _ = _alike(rows[0])
    made = replayer.replay(
        model, policy, [row.transaction_id for row in rows], [row.features for row in rows]
    )
    names = [Decision(kind).name.lower() for kind in made.decision.tolist()]
    return list(zip(made.log_odds.tolist(), names, strict=True))


def _words(log_odds: int, decision: str) -> str:
    return f"{decision}, log-odds {log_odds / ONE:+.6f} ({log_odds})"

"""What `tidegate dead-letters` does."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import typer

from tidegate.cli import tables
from tidegate.cli.database import at_head
from tidegate.cli.given import actor
from tidegate.kafka import replay as replays
from tidegate.kafka.replay import CannotReplay, Replayed
from tidegate.kafka.single import Single
from tidegate.settings import SettingError, Settings
from tidegate.store import queries
from tidegate.store.connection import Conn, connect
from tidegate.store.queries import DeadLetter, DeadLetterFilter

NAME = "tidegate-dead-letters"
_COLUMNS = ("id", "from", "at", "reason", "field", "detail", "replayed")
_WHOLE = ("id", "at", "reason")


def show(
    settings: Settings,
    reason: str | None,
    topic: str | None,
    *,
    all_of_them: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Prints dead letters, last stored first: a table, or a JSON line each."""
    which = DeadLetterFilter(reason, topic, None if all_of_them else False)
    with (
        at_head(settings) as database,
        connect(database.url, application_name=NAME) as conn,
    ):
        found = queries.dead_letters(conn, which, limit=limit + 1)
    letters = found[:limit]
    if as_json:
        for letter in letters:
            typer.echo(json.dumps(asdict(letter), default=lambda at: at.isoformat()))
    elif letters:
        tables.show([_COLUMNS, *map(_row, letters)], whole=_WHOLE)
    else:
        typer.echo("no dead letters" if all_of_them else "no dead letters to replay", err=True)
    if len(found) > limit:
        typer.echo(f"there are older ones: --limit {limit} was reached", err=True)


def replay(
    settings: Settings,
    ids: Sequence[int] | None,
    reason: str | None,
    payload: Path | None,
    *,
    again: bool,
) -> None:
    """Replays dead letters by id, or all waiting ones of a reason, in the order they were stored.

    Prints one line each; exits with 1 where any could not be replayed. Raises `KafkaFailed` at the
    first that Kafka does not take: the next ones would fare no better.
    """
    if not settings.kafka.brokers:
        raise SettingError("TIDEGATE_KAFKA_BROKERS", "is not set: messages are replayed into Kafka")
    correction = None if payload is None else _read(payload)
    refused = 0
    with (
        at_head(settings) as database,
        connect(database.url, application_name=NAME) as conn,
        Single(settings.kafka) as kafka,
    ):
        conn.autocommit = True  # each replay is a transaction of its own
        if reason is not None:
            ids = queries.waiting(conn, reason)
        for id in ids or ():
            try:
                done = _replay(settings, conn, kafka, id, correction, again=again)
            except CannotReplay as ex:
                refused += 1
                typer.echo(f"{id}: not replayed: {ex}", err=True)
            else:
                typer.echo(f"{id}: replayed, now {done.topic} {done.partition}:{done.offset}")
        if not ids:
            typer.echo(f"no dead letters of reason {reason!r} to replay", err=True)
    if refused:
        raise typer.Exit(1)


def _replay(
    settings: Settings, conn: Conn, kafka: Single, id: int, correction: bytes | None, *, again: bool
) -> Replayed:
    letter = queries.dead_letter(conn, id)
    if letter is None:
        raise CannotReplay(f"there is no dead letter {id}")
    message = replays.prepare(
        letter, settings.kafka.topics, kafka, correction=correction, again=again
    )
    with conn.transaction():
        return replays.send(conn, letter, message, kafka, actor=actor(), again=again)


def _read(path: Path) -> bytes:
    """The corrected message; one byte more than is allowed, where it is too long."""
    if str(path) == "-":
        return sys.stdin.buffer.read(replays.LARGEST + 1)
    with path.open("rb") as file:
        return file.read(replays.LARGEST + 1)


def _row(letter: DeadLetter) -> tuple[str, ...]:
    replayed = letter.replayed_at
    return (
        str(letter.id),
        f"{letter.topic} {letter.partition}:{letter.offset}",
        letter.at.strftime("%Y-%m-%d %H:%M:%S"),
        letter.reason,
        letter.field or "",
        letter.detail,
        "" if replayed is None else replayed.strftime("%Y-%m-%d %H:%M:%S"),
    )

"""What `tidegate dead-letters` does."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import typer

from tidegate.cli import tables
from tidegate.cli.database import usable
from tidegate.cli.given import actor
from tidegate.inbox_replay import came_by_inbox
from tidegate.inbox_replay import replay as put_again
from tidegate.kafka.replay import prepare, send
from tidegate.kafka.single import Single
from tidegate.replays import LARGEST, CannotReplay, Replayed
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
        usable(settings) as database,
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
    correction = None if payload is None else _read(payload)
    refused = 0
    with (
        usable(settings) as database,
        connect(database.url, application_name=NAME) as conn,
        ExitStack() as opened,
    ):
        kafka = opened.enter_context(Single(settings.kafka)) if settings.kafka.brokers else None
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
    settings: Settings,
    conn: Conn,
    kafka: Single | None,
    id: int,
    correction: bytes | None,
    *,
    again: bool,
) -> Replayed:
    letter = queries.dead_letter(conn, id)
    if letter is None:
        raise CannotReplay(f"there is no dead letter {id}")
    if came_by_inbox(letter):
        with conn.transaction():
            return put_again(conn, letter, correction=correction, actor=actor(), again=again)
    if kafka is None:
        raise SettingError(
            "TIDEGATE_KAFKA_BROKERS", f"is not set: dead letter {id} is replayed into Kafka"
        )
    message = prepare(letter, settings.kafka.topics, kafka, correction=correction, again=again)
    with conn.transaction():
        return send(conn, letter, message, kafka, actor=actor(), again=again)


def _read(path: Path) -> bytes:
    """The corrected message; one byte more than is allowed, where it is too long."""
    if str(path) == "-":
        return sys.stdin.buffer.read(LARGEST + 1)
    with path.open("rb") as file:
        return file.read(LARGEST + 1)


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

"""What `tidegate keys` does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime

import typer

from tidegate import keys
from tidegate.access import ROLES, Role, Scope
from tidegate.cli import tables
from tidegate.cli.database import usable
from tidegate.cli.given import actor
from tidegate.settings import Settings
from tidegate.store import api_keys
from tidegate.store.api_keys import ApiKey
from tidegate.store.connection import Conn, connect

NAME = "tidegate-keys"
_COLUMNS = ("prefix", "name", "role", "state", "created", "by", "last used", "scopes")


def create(
    settings: Settings, name: str, role: Role, scopes: Sequence[Scope] | None, days: int | None
) -> None:
    """Makes a key and prints it, the one time; what else there is to say goes to standard error."""
    for scope in scopes or ():
        if scope not in ROLES[role]:
            raise typer.BadParameter(
                f"{scope.value} is nothing that {role.value} may: {', '.join(sorted(ROLES[role]))}",
                param_hint="--scope",
            )
    narrower = sorted({scope.value for scope in scopes}) if scopes else None
    key = keys.made()
    with _connected(settings) as conn:
        made = api_keys.make(
            conn, key, name=name, role=role.value, scopes=narrower, days=days, actor=actor()
        )
    until = "" if made.expires_at is None else f", until {_time(made.expires_at)} UTC"
    typer.echo(
        f"made key {made.prefix} ({made.name}) for {made.role}{until}; it is shown this once:",
        err=True,
    )
    typer.echo(key.text)


def show(settings: Settings, limit: int, after: str | None, *, as_json: bool) -> None:
    """Prints keys, oldest first: a table, or a JSON line each. Raises `api_keys.NoSuchKey`."""
    with _connected(settings) as conn:
        found = api_keys.listed(conn, limit=limit + 1, after=after)
    shown = found[:limit]
    if as_json:
        for key in shown:
            typer.echo(json.dumps(asdict(key), default=_plain))
    elif shown:
        tables.show([_COLUMNS, *map(_cells, shown)], whole=_COLUMNS[:-1])
    else:
        typer.echo("no keys: tidegate keys create makes one", err=True)
    if len(found) > limit:
        typer.echo(f"there are newer ones: --after {shown[-1].prefix} shows them", err=True)


def revoke(settings: Settings, prefix: str) -> None:
    """Ends a key. Raises `api_keys.NoSuchKey`."""
    if keys.read(prefix) is not None:  # the whole key: not to be repeated by an error
        raise typer.BadParameter(
            "is a whole key: give its prefix, the part between tg_ and the next _",
            param_hint="PREFIX",
        )
    with _connected(settings) as conn:
        ended = api_keys.revoke(conn, prefix, actor=actor())
    assert ended.revoked_at is not None
    typer.echo(f"key {ended.prefix} ({ended.name}) is revoked since {_time(ended.revoked_at)} UTC")


@contextmanager
def _connected(settings: Settings) -> Iterator[Conn]:
    """A connection whose transaction is committed at the end."""
    with (
        usable(settings) as database,
        connect(database.url, application_name=NAME) as conn,
    ):
        yield conn


def _cells(key: ApiKey) -> tuple[str, ...]:
    return (
        key.prefix,
        key.name,
        key.role,
        _state(key),
        _time(key.created_at),
        key.created_by,
        "" if key.last_used_at is None else _time(key.last_used_at),
        "" if key.scopes is None else ", ".join(key.scopes),
    )


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {_time(key.revoked_at)}"
    if key.expires_at is None:
        return "for ever"
    word = "until" if key.expires_at > datetime.now(UTC) else "expired"
    return f"{word} {_time(key.expires_at)}"


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S")


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)

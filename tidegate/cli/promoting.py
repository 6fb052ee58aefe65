"""What `tidegate models` does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import typer

from tidegate.cli import tables
from tidegate.cli.database import usable
from tidegate.cli.given import actor
from tidegate.schema import CHAMPION
from tidegate.settings import Settings
from tidegate.store import promotions
from tidegate.store.connection import Conn, connect
from tidegate.store.promotions import Promotion, Standing
from tidegate.store.stats import Point

NAME = "tidegate-models"
_STANDINGS = ("model", "state", "average precision", "frauds", "measured", "description")
_HISTORY = ("id", "at", "model", "before", "by", "undoes", "reason")


def show(settings: Settings, *, as_json: bool) -> None:
    """Prints how the running models stand, by name: a table, or a JSON line each."""
    with _connected(settings) as conn:
        found = promotions.standings(conn)
    if as_json:
        for standing in found:
            _print_json(standing)
    elif found:
        tables.show([_STANDINGS, *map(_standing, found)], whole=_STANDINGS[:-1])
    else:
        typer.echo("no models: the flow was not started yet", err=True)


def promote(settings: Settings, name: str, reason: str) -> None:
    """Makes a model serve and says so. Raises `promotions.CannotPromote`."""
    with _connected(settings) as conn:
        done = promotions.promote(conn, name, actor=actor(), reason=reason)
    _tell(done)


def rollback(settings: Settings, reason: str) -> None:
    """Takes back the newest promotion and says so. Raises `promotions.CannotPromote`."""
    with _connected(settings) as conn:
        done = promotions.rollback(conn, actor=actor(), reason=reason)
    _tell(done)


def history(settings: Settings, limit: int, *, as_json: bool) -> None:
    """Prints promotions, newest first: a table, or a JSON line each."""
    with _connected(settings) as conn:
        found = promotions.history(conn, limit=limit + 1)
    shown = found[:limit]
    if as_json:
        for promotion in shown:
            _print_json(promotion)
    elif shown:
        tables.show([_HISTORY, *map(_promotion, shown)], whole=_HISTORY[:-1])
    else:
        typer.echo(f"no promotions: {CHAMPION} serves", err=True)
    if len(found) > limit:
        typer.echo(f"there are older ones: --limit {limit} was reached", err=True)


@contextmanager
def _connected(settings: Settings) -> Iterator[Conn]:
    """A connection whose transaction is committed at the end."""
    with (
        usable(settings) as database,
        connect(database.url, application_name=NAME) as conn,
    ):
        yield conn


def _tell(done: Promotion) -> None:
    undone = "" if done.undoes is None else f", takes back {done.undoes}"
    typer.echo(
        f"{done.model} is to serve from now on; {done.before} served before"
        f" (promotion {done.promotion_id}{undone})"
    )


def _print_json(row: Promotion | Standing) -> None:
    typer.echo(json.dumps(asdict(row), default=lambda at: at.isoformat()))


def _standing(standing: Standing) -> tuple[str, ...]:
    precision = standing.average_precision
    return (
        standing.name,
        _state(standing),
        "" if precision is None else f"{precision.value:.3f}",
        _number(standing.frauds),
        "" if precision is None else precision.at.strftime("%Y-%m-%d %H:%M:%S"),
        standing.description,
    )


def _state(standing: Standing) -> str:
    words = []
    if standing.serving:
        words.append("serves")
    elif not standing.servable:
        words.append("cannot serve")
    suspended, measured = standing.suspended, standing.average_precision
    if suspended is not None and (measured is None or measured.at <= suspended.at):
        words.append("suspended")
    return ", ".join(words)


def _number(point: Point | None) -> str:
    return "" if point is None else f"{point.value:.0f}"


def _promotion(promotion: Promotion) -> tuple[str, ...]:
    return (
        str(promotion.promotion_id),
        promotion.at.strftime("%Y-%m-%d %H:%M:%S"),
        promotion.model,
        promotion.before,
        promotion.actor,
        "" if promotion.undoes is None else str(promotion.undoes),
        promotion.reason,
    )

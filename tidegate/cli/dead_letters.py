"""`tidegate dead-letters`: commands, options and help; the work is in `tidegate.cli.replaying`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli.given import settings

app = typer.Typer(
    help="Messages that could not be taken: list them, send them again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_(
    reason: Annotated[str | None, typer.Option(help="Only of this reason.")] = None,
    topic: Annotated[str | None, typer.Option(help="Only of this topic or file.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Also those that were replayed.")] = False,
    limit: Annotated[int, typer.Option(help="Lines at most.", min=1, max=10_000)] = 50,
    json: Annotated[
        bool, typer.Option("--json", help="A JSON object for each, with the redacted payload.")
    ] = False,
) -> None:
    """Show dead letters that were not replayed yet, last stored first."""
    from tidegate.cli import replaying

    replaying.show(settings(), reason, topic, all_of_them=all, limit=limit, as_json=json)


@app.command()
def replay(
    ids: Annotated[
        list[int] | None, typer.Argument(help="Dead letters by id.", min=1, show_default=False)
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="All of this reason that were not replayed yet.")
    ] = None,
    payload: Annotated[
        Path | None,
        typer.Option(
            help="File with the corrected message as JSON, - for standard input.", allow_dash=True
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also where it was replayed before.")
    ] = False,
) -> None:
    """Send the messages of dead letters to their topic, or put them into the inbox, again.

    Each message is read again from there as it was, since what is stored of it is redacted; with
    --payload the corrected one goes in its place. Says one line for each; the exit code is 1 if any
    could not be replayed.
    """
    if (ids is None) == (reason is None):
        raise typer.BadParameter("give either ids or --reason", param_hint="ids")
    if payload is not None and (ids is None or len(ids) != 1):
        raise typer.BadParameter("corrects one dead letter: give one id", param_hint="--payload")
    if reason is not None and again:
        raise typer.BadParameter("goes with ids, not with --reason", param_hint="--again")
    from tidegate.cli import replaying

    replaying.replay(settings(), ids, reason, payload, again=again)

"""`tidegate keys`: commands, options and help; the work is in `tidegate.cli.keeping_keys`."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.access import Role, Scope
from tidegate.cli.given import settings

app = typer.Typer(
    help="Keys of the API: make, list and revoke them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

LONGEST_NAME = 64  # characters


def _name(given: str) -> str:
    if not 0 < len(given) <= LONGEST_NAME or not given.isprintable():
        raise typer.BadParameter(f"1 to {LONGEST_NAME} printable characters are needed")
    return given


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Whose it is, or what for.", callback=_name)],
    role: Annotated[Role, typer.Option(help="What it is for.")],
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="Just this of what the role may; may be given repeatedly."),
    ] = None,
    expires_days: Annotated[
        int | None,
        typer.Option("--expires-days", help="Ends after so many days.", min=1, max=3650),
    ] = None,
) -> None:
    """Make a key and print it: this once, alone on standard output.

    Only a hash of it is kept. A viewer reads; an analyst also works on alerts, cases and labels; an
    admin may do everything; ingest sends transactions and labels and looks up their decisions.
    """
    from tidegate.cli import keeping_keys

    keeping_keys.create(settings(), name, role, scope, expires_days)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(help="Lines at most.", min=1, max=10_000)] = 200,
    after: Annotated[str | None, typer.Option(help="Go on after this prefix.")] = None,
    json: Annotated[bool, typer.Option("--json", help="A JSON object for each.")] = False,
) -> None:
    """Show keys, oldest first, also those that have ended; never their secrets."""
    from tidegate.cli import keeping_keys

    keeping_keys.show(settings(), limit, after, as_json=json)


@app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(help="The middle part of tg_<prefix>_<secret>.")],
) -> None:
    """End a key, and every session that began with it, for ever; within 10 seconds everywhere."""
    from tidegate.cli import keeping_keys

    keeping_keys.revoke(settings(), prefix)

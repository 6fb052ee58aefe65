"""`tidegate models`: commands, options and help; the work is in `tidegate.cli.promoting`."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli.given import settings

app = typer.Typer(
    help="Models that learn: list them, promote one, go back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _text(given: str) -> str:
    try:
        given.encode()
    except UnicodeEncodeError as ex:
        raise typer.BadParameter("is no UTF-8") from ex
    return given


Reason = Annotated[str, typer.Option(help="Why, for the history.", callback=_text)]


@app.command("list")
def list_(
    json: Annotated[bool, typer.Option("--json", help="A JSON object for each.")] = False,
) -> None:
    """Show the models that the flow runs, and how good they are."""
    from tidegate.cli import promoting

    promoting.show(settings(), as_json=json)


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="The model that is to serve.", callback=_text)],
    reason: Reason = "",
) -> None:
    """Make a model serve: its scores decide from then on.

    A running flow changes over within seconds, without a stop. Fails unless the flow runs the model
    and it can serve.
    """
    from tidegate.cli import promoting

    promoting.promote(settings(), name, reason)


@app.command()
def rollback(reason: Reason = "") -> None:
    """Take back the newest promotion; done twice, go two steps back.

    After it no model is promoted automatically until somebody promotes one.
    """
    from tidegate.cli import promoting

    promoting.rollback(settings(), reason)


@app.command()
def history(
    limit: Annotated[int, typer.Option(help="Lines at most.", min=1, max=10_000)] = 50,
    json: Annotated[bool, typer.Option("--json", help="A JSON object for each.")] = False,
) -> None:
    """Show who promoted which model, newest first."""
    from tidegate.cli import promoting

    promoting.history(settings(), limit, as_json=json)

"""The commands, their options and their help; the work is in the modules beside this one.

What a command needs is imported when it is called, so that `--help` comes at once.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tidegate import __version__
from tidegate.cli import dead_letters, keys, models
from tidegate.cli.given import settings as _settings
from tidegate.settings import SettingError

app = typer.Typer(
    name="tidegate",
    help="Scores payments for fraud as they happen, and learns from late labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Settings come from TIDEGATE_* environment variables: see docs/operations/settings.md.",
)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")

Port = Annotated[int, typer.Option(help="Port of the API and the pages.", min=1, max=65535)]


def _known_currency(code: str | None) -> str | None:
    from tidegate.currencies import EXPONENTS

    if code is not None and code not in EXPONENTS:
        raise typer.BadParameter(f"{code!r} is no currency of ISO 4217")
    return code


Currency = Annotated[
    str | None,
    typer.Option(
        help="ISO 4217 code of amounts in files that name no currency.", callback=_known_currency
    ),
]


def _an_address(given: str) -> str:
    host, colon, port = given.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise typer.BadParameter(f"{given!r} is not HOST:PORT, as in 10.0.0.7:2101")
    return given


def _known_challengers(given: str) -> str:
    if given:
        from models.roster import challengers

        try:
            challengers(_names(given))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    return given


def _names(given: str) -> list[str]:
    return [name for name in given.split(",") if name]


class Format(StrEnum):
    """What a simulation is written as."""

    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"


class FeatureSet(StrEnum):
    """What an evaluation learns from."""

    ALL = "all"
    BOOK = "book"


@app.command()
def demo(
    transactions: Annotated[
        int, typer.Option(help="Payments to simulate.", min=1000, max=5_000_000)
    ] = 120_000,
    exit: Annotated[
        bool,
        typer.Option("--exit", help="Run at full speed, print one JSON line at the end, and stop."),
    ] = False,
    port: Port = 8000,
) -> None:
    """Everything on this machine: a database, simulated payments, scoring, learning and pages.

    Needs no server. Payments of 45 days stream in within some two minutes, fraud labels follow days
    later as they do in life, and the page shows alerts and how the model gets better. Killed and
    started again, it goes on where it was.
    """
    from tidegate.cli import demo as command

    command.demo(_settings(), transactions, exit_at_end=exit, port=port)


@app.command()
def migrate(
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; fail unless the schema is the newest."),
    ] = False,
) -> None:
    """Bring the database to the newest schema, and its policies to the settings.

    On TimescaleDB, policies move old rows to the columnstore and drop those past their retention.
    """
    from tidegate.cli import maintaining

    if check:
        maintaining.check(_settings())
    else:
        maintaining.migrate(_settings())


@app.command()
def maintain(
    once: Annotated[bool, typer.Option("--once", help="One round, and end.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between rounds.", min=1, max=86_400)] = 60.0,
) -> None:
    """Keep the database in order: count what the pages show, delete what is past its retention.

    Runs until it is stopped, one at a time on a database; another one waits for its turn. Where
    TimescaleDB's policies delete, it only counts.
    """
    from tidegate.cli import maintaining

    maintaining.maintain(_settings(), None if once else every)


@app.command()
def doctor() -> None:
    """Check settings, database, Kafka and recovery store: one line each, with what to do."""
    from tidegate.cli import doctor as command

    command.doctor()


@app.command()
def run(
    transactions: Annotated[
        list[Path] | None,
        typer.Option(help="File of payments (.parquet, .csv, .jsonl); may be given repeatedly."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="File of labels: transaction_id, fraud, source, labelled_at."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes; default TIDEGATE_WORKERS.", min=1, max=64)
    ] = None,
    currency: Currency = None,
) -> None:
    """Score payments and learn from their labels: from Kafka until stopped, or from files.

    Without files it reads the topics of TIDEGATE_KAFKA_BROKERS. Decisions and alerts go to the
    database, and from Kafka to their topics as well. Stopped or killed, it goes on where it was
    when started again; no decision is lost, doubled or changed.
    """
    from tidegate.cli import scoring

    scoring.run(_settings(), transactions or [], labels, workers, currency)


@app.command()
def supervise(
    address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Where this machine's worker can be reached by those of the others.",
            callback=_an_address,
        ),
    ],
    join: Annotated[
        bool,
        typer.Option("--join", help="Offer a worker to the cluster that another machine leads."),
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="What logs call this machine; default its host name.")
    ] = None,
) -> None:
    """Score live payments on several machines: one leads, others join and leave as they like.

    The leader is `run` with one worker: it has the recovery store. Each machine that joins brings
    one more, up to TIDEGATE_SHARDS; all meet in TIDEGATE_DATABASE_URL. When one comes, goes or
    dies, all go on from the last snapshot. The link between workers is not encrypted.
    """
    import socket

    from tidegate.cli import scoring

    scoring.supervise(_settings(), address, name or socket.gethostname(), joins=join)


@app.command()
def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
) -> None:
    """Serve the API and the pages."""
    from tidegate.cli import serving

    serving.serve(_settings(), host, port)


@app.command()
def simulate(
    out: Annotated[Path | None, typer.Option(help="Folder to write into.")] = None,
    kafka: Annotated[
        bool, typer.Option("--kafka", help="Send to the topics of TIDEGATE_KAFKA_BROKERS instead.")
    ] = False,
    customers: Annotated[int, typer.Option(min=1)] = 5_000,
    terminals: Annotated[int, typer.Option(min=20)] = 2_000,
    days: Annotated[int, typer.Option(min=1)] = 60,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 7,
    format: Annotated[Format, typer.Option(help="Format of the two files.")] = Format.PARQUET,
    rate: Annotated[
        float | None,
        typer.Option(help="Payments a second to send; default as fast as it goes.", min=0.001),
    ] = None,
) -> None:
    """Write simulated payments and their late labels, or send them to Kafka.

    Customers pay at terminals near them in a rhythm of their own; fraud follows patterns that the
    field knows. Equal seeds give equal files.
    """
    from tidegate.cli import simulation

    if (out is not None) == kafka:
        raise typer.BadParameter("give either --out or --kafka", param_hint="--out")
    if out is None:
        simulation.send(_settings().kafka, customers, terminals, days, seed, rate)
        return
    if rate is not None:
        raise typer.BadParameter("goes with --kafka", param_hint="--rate")
    simulation.write(out, customers, terminals, days, seed, format.value)


@app.command()
def evaluate(
    data: Annotated[
        str, typer.Option(help="Labelled history: files with a column fraud, comma-separated.")
    ],
    delay_days: Annotated[
        float, typer.Option(help="Days until a label is known.", min=0.04, max=90)
    ] = 7.0,
    scores: Annotated[
        Path | None, typer.Option(help="Write transaction_id and score to this Parquet file.")
    ] = None,
    currency: Currency = None,
    features: Annotated[
        FeatureSet, typer.Option(help="All features, or for comparison the handbook's fifteen.")
    ] = FeatureSet.ALL,
    challengers: Annotated[
        str,
        typer.Option(
            help="Models that learn beside the champion, comma-separated, or all.",
            callback=_known_challengers,
        ),
    ] = "",
) -> None:
    """Tell how well scores would have told fraud, on history with late labels.

    Streams the history once, in order of time, through the same features, model and learning as a
    run; prints average precision by week, tested before learned.
    """
    from tidegate.cli import evaluation

    _settings()
    files = [Path(name) for name in data.split(",") if name]
    if not files:
        raise typer.BadParameter("names no file", param_hint="--data")
    beside = _names(challengers)
    evaluation.evaluate(files, delay_days, scores, currency, features.value, beside)


@app.command()
def replay(
    transaction_id: Annotated[str, typer.Argument(help="Of the decision to make again.")],
) -> None:
    """Make a stored decision again from its stored inputs and versions, and compare.

    Fails unless log-odds and decision are the same to the last bit.
    """
    from tidegate.cli import replay as command

    command.replay(_settings(), transaction_id)


@app.command()
def audit_replay(
    sample: Annotated[int, typer.Option(help="Decisions to make again.", min=1)] = 10_000,
) -> None:
    """Make a sample of decisions again, evenly over time, and count those that differ.

    Fails on one that differs or cannot be made again.
    """
    from tidegate.cli import replay as command

    command.audit(_settings(), sample)


def main() -> None:
    """The console script: what goes wrong in a known way is one line on standard error."""
    from tidegate.cli.errors import known_errors, told

    try:
        app()  # says what is wrong with an option itself: Typer brings its own copy of Click
    except SystemExit:
        raise  # before the errors below are imported for nothing
    except SettingError as error:
        _fail(str(error))
    except known_errors() as error:
        _fail(told(error))


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Say the version.")] = False,
) -> None:
    if version:
        typer.echo(f"tidegate {__version__}")
        raise typer.Exit


def _fail(reason: str) -> None:
    typer.echo(f"tidegate: {reason}", err=True)
    sys.exit(1)

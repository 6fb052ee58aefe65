"""`python -m bench`: runs benchmarks, prints one table, and writes a JSON file for each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from bench import (
    alert_list,
    capacity,
    columnstore,
    drift,
    evaluate,
    features,
    handbook,
    intake,
    kafka,
    learn_predict,
    rescale,
    run,
    storage,
    streams,
    traces,
    trigger,
    write,
)
from bench.given import Given
from bench.report import Report, say, show
from dataflows.evaluate import NoLabels
from dataflows.runner import RunFailed
from tests.kafka.broker import BrokerFailed
from tests.timescale.pglite import PGliteFailed
from tidegate.embedded import EmbeddedError
from tidegate.readers import UnreadableFile

BENCHMARKS: dict[str, Callable[[Given], Report]] = {
    "learn_predict": learn_predict.bench,
    "features": features.bench,
    "evaluate": evaluate.bench,
    "run": run.bench,
    "write": write.bench,
    "trigger": trigger.bench,
    "kafka": kafka.bench,
    "traces": traces.bench,
    "rescale": rescale.bench,
    "intake": intake.bench,
    "streams": streams.bench,
    "alert_list": alert_list.bench,
    "storage": storage.bench,
    "columnstore": columnstore.bench,
    "capacity": capacity.bench,
    "drift": drift.bench,
    "handbook": handbook.bench,
}
# They need data that the repository does not have, or ten gigabytes or minutes.
NAMED_ONLY = ("capacity", "drift", "handbook", "rescale", "storage")
FAILURES = (
    BrokerFailed,
    EmbeddedError,
    NoLabels,
    PGliteFailed,
    RunFailed,
    UnreadableFile,
    streams.Missed,
)
OUT = Path(__file__).parent / "out"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmarks that are named, or all; says whether all came to their end (0)."""
    told = _parser().parse_args(arguments)
    reports: list[Report] = []
    failed = False
    with TemporaryDirectory(prefix="tidegate-bench-") as directory:
        given = Given(Path(directory), told.quick, told.data, told.rows)
        for name in told.names or [name for name in BENCHMARKS if name not in NAMED_ONLY]:
            say(name)
            begin = perf_counter()
            try:
                reports.append(BENCHMARKS[name](given))
            except kafka.Missing as error:
                failed = failed or name in told.names
                say(f"  {name} left out: {error}")
                continue
            except FAILURES as error:
                failed = True
                say(f"  {name} failed: {error}")
                continue
            path = reports[-1].write(told.out, told.quick)
            say(f"  {perf_counter() - begin:.0f} s, written to {path}")
    show(reports)
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="fewer rows, fewer rounds")
    parser.add_argument("--data", type=Path, help="labelled history to use instead of simulating")
    parser.add_argument("--rows", type=_rows, help="in place of each benchmark's own number")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the JSON files")
    return parser


def _rows(text: str) -> int:
    rows = int(text)
    if rows < 1_000:
        raise argparse.ArgumentTypeError("at least 1000")
    return rows


if __name__ == "__main__":
    sys.exit(main())

"""What a number of cards costs: memory, the recovery store, and the time that snapshots take.

Why: whoever sizes a pod or chooses how often to take snapshots must know how state grows. A
snapshot writes all of it, whatever has changed, so with many cards it is what limits the rate.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
import tracemalloc
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import psycopg

from bench import database
from bench.given import Given
from bench.live import TIDEGATE, end, environment, resident
from bench.report import Figure, Report, figure, say
from bench.rounds import in_turn, times
from dataflows.messages import no_rows
from dataflows.supervisor import RunFailed
from models.recent import RecentIds
from tests.kafka.broker import free_ports
from tidegate import simulate
from tidegate.schema import Batch, texts

_DAYS, _SEED = 3, 7
_TERMINAL_OF = 10  # customers
_OFTEN, _SELDOM = 10, 60  # seconds between snapshots
_IDS, _PART = 500_000, 5_000
_LOOK = 0.5  # seconds between two looks at a run

COUNT = """
SELECT count(*), count(DISTINCT card_token),
    extract(epoch FROM max(scored_at) - min(scored_at))::float8
FROM score
"""
_SNAPSHOTS = re.compile(r"^tidegate_snapshot_seconds_sum (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Took:
    """A run of files by one process. resident: bytes; store: bytes of the recovery store; share:
    of the time, that its snapshots took."""

    cards: int
    rate: float  # payments a second
    resident: float
    store: float
    share: float


def bench(given: Given) -> Report:
    """Bytes a card, and payments a second, by cards and by how often snapshots are taken."""
    few, many = (200, 2_000) if given.quick else (20_000, 200_000)
    with database.server() as server, tempfile.TemporaryDirectory(dir=given.directory) as kept:
        files = {customers: _files(Path(kept), customers) for customers in (few, many)}
        runs = {
            (customers, seconds): partial(_run, server, files[customers], seconds)
            for customers in (few, many)
            for seconds in (_OFTEN, _SELDOM)
        }
        named = {f"{customers:,} customers, {s} s": run for (customers, s), run in runs.items()}
        found = {name: took[0] for name, took in in_turn(named, 1).items()}
    figures: list[Figure] = []
    for customers in (few, many):
        often, seldom = (found[f"{customers:,} customers, {s} s"] for s in (_OFTEN, _SELDOM))
        what = f"{often.cards:,} cards"
        figures += [
            figure(f"{what}, memory", [often.resident / 1e6], "MB"),
            figure(f"{what}, recovery store", [often.store / 1e6], "MB"),
            figure(f"{what}, snapshots every {_OFTEN} s", [100 * often.share], "% of the time"),
            figure(f"{what}, snapshots every {_SELDOM} s", [100 * seldom.share], "% of the time"),
            figure(f"{what}, rate with {_OFTEN} s", [often.rate], "payments/s"),
            figure(
                f"{what}, rate with {_SELDOM} s",
                [seldom.rate],
                "payments/s",
                times([seldom.rate], [often.rate]),
                f"{_OFTEN} s",
            ),
        ]
    held, saved = _an_id()
    figures += [
        figure("an id of the last day, memory", [held], "bytes"),
        figure("an id of the last day, recovery store", [saved], "bytes"),
    ]
    notes = [
        f"{_DAYS} days of simulated payments from a file, a terminal for every {_TERMINAL_OF} "
        "customers, one worker; memory includes the file's rows that wait",
    ]
    return Report("capacity", found[f"{many:,} customers, {_OFTEN} s"].cards, 1, figures, notes)


def _an_id() -> tuple[float, float]:
    """Bytes of memory and of a snapshot for an id of 25 characters that is remembered."""
    recent = RecentIds()
    tracemalloc.start()
    for part in range(_IDS // _PART):
        recent.check(_ids(part), 0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    saved = sum(array.nbytes for array in recent.dump().values())
    return held / _IDS, saved / _IDS


def _ids(part: int) -> Batch:
    ids = [f"transaction-{part:06d}-{number:06d}" for number in range(_PART)]
    content = np.arange(part * _PART, (part + 1) * _PART, dtype=np.uint64) + 2**40
    return replace(no_rows(), transaction_id=texts(ids), content=content)


def _files(directory: Path, customers: int) -> list[Path]:
    say(f"  simulating {customers:,} customers")
    terminals = max(40, customers // _TERMINAL_OF)
    folder = directory / str(customers)
    folder.mkdir()
    return list(simulate.write(folder, customers, terminals, _DAYS, _SEED))


def _run(server: str, files: list[Path], seconds: int) -> Took:
    (port,) = free_ports(1)
    with (
        database.fresh(server) as url,
        tempfile.TemporaryDirectory(prefix="tidegate-bench-") as directory,
    ):
        env = environment() | {
            "TIDEGATE_DATABASE_URL": url,
            "TIDEGATE_DATA_DIR": directory,
            "TIDEGATE_METRICS_PORT": str(port),
            "TIDEGATE_SNAPSHOT_SECONDS": str(seconds),
        }
        command = [str(TIDEGATE), "run", "--transactions", str(files[0]), "--labels", str(files[1])]
        log = Path(directory) / "log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
        held, spent = 0.0, 0.0
        try:
            while process.poll() is None:
                with suppress(OSError, ValueError):  # it may just have ended, or not begun
                    held = 1024 * resident(process.pid)
                    spent = _spent(port)
                time.sleep(_LOOK)
        finally:
            end(process)
        if process.returncode:
            raise RunFailed(log.read_text(errors="replace")[-2000:])
        store = sum(path.stat().st_size for path in (Path(directory) / "recovery").iterdir())
        with psycopg.connect(url) as conn:
            rows, cards, took = conn.execute(COUNT).fetchone() or (0, 0, 0.0)
    return Took(cards, rows / took, held, store, spent / took)


def _spent(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        found = _SNAPSHOTS.search(answer.read().decode())
    return 0.0 if found is None else float(found[1])

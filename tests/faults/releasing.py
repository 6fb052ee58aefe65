"""What a release leaves behind: `python -m tests.faults.releasing FOLDER` scores some payments,
stops, and keeps its recovery store and its database; then it goes on, and keeps what it decided.

Before a version changes the state of a step, or anything else that goes into the store, the release
before it is kept in `tests/faults/releases`, by the revision of its schema; `test_upgrade` has this
version go on from each.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.database import server
from tests.databases import fresh, template
from tests.dataflows.streams import query, simulated
from tests.faults.cluster import Cluster, wait_for
from tests.inbox import put
from tidegate import embedded
from tidegate.kafka import incoming
from tidegate.schema import Batch, Labels
from tidegate.settings import Topics

RELEASES = Path(__file__).parent / "releases"
DUMP, STORE = "database.dump", "recovery.tar.xz"
PAYMENTS, LABELS, DECISIONS = "payments.jsonl.gz", "labels.jsonl.gz", "decisions.json.gz"
MATURITY_DAYS = "1"  # so that something is learned in four days

DECIDED = "SELECT transaction_id, log_odds, left(model_version, 12) FROM score ORDER BY 1"
_ROWS, _BEFORE, _DAYS, _SEED = 500, 350, 4, 31


def go_on(url: str, data: Path, rows: int) -> None:
    """Runs until so many payments are decided, and stops."""
    cluster = Cluster(url, None, Topics(), data, TIDEGATE_MATURITY_DAYS=MATURITY_DAYS)
    cluster.start(1)
    try:
        wait_for(cluster, url, rows)
        cluster.stop()
    finally:
        cluster.kill_everything()


def decided(url: str) -> list[list[Any]]:
    """Id, log-odds and the beginning of the model version of each decision."""
    return [list(row) for row in query(url, DECIDED)]


def keep(folder: Path) -> None:
    """Writes what this version leaves behind."""
    batch, told = simulated(_ROWS, _DAYS, _SEED)
    early = told.labelled_at < batch.event_time[_BEFORE]
    before = _messages(batch.take(np.arange(_BEFORE)), told.take(early))
    after = _messages(batch.take(np.arange(_BEFORE, _ROWS)), told.take(~early))
    folder.mkdir(parents=True)
    with (
        TemporaryDirectory(prefix="tidegate-release-") as directory,
        server() as url_of_server,
        template(url_of_server) as name,
        fresh(url_of_server, name) as url,
    ):
        data = Path(directory)
        put(url, *before)
        go_on(url, data, _BEFORE)
        dump = ["--format=custom", "--compress=9", "--no-owner", f"--file={folder / DUMP}", url]
        subprocess.run([embedded.programs() / "pg_dump", *dump], check=True)
        with tarfile.open(folder / STORE, "w:xz") as packed:
            packed.add(data / "recovery", "recovery")
        put(url, *after)
        go_on(url, data, _ROWS)
        found = decided(url)
    for file, messages in zip((PAYMENTS, LABELS), after, strict=True):
        (folder / file).write_bytes(gzip.compress(b"\n".join(messages), mtime=0))
    (folder / DECISIONS).write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))


def _messages(batch: Batch, told: Labels) -> tuple[list[bytes], list[bytes]]:
    return list(incoming.transactions(batch)), list(incoming.labels(told))


if __name__ == "__main__":
    keep(Path(sys.argv[1]))

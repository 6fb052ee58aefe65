"""A version goes on where the release before it stopped: from its recovery store and database."""

from __future__ import annotations

import gzip
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import databases
from tests.dataflows.streams import query
from tests.faults.cluster import TIDEGATE
from tests.faults.releasing import (
    DECISIONS,
    DUMP,
    LABELS,
    PAYMENTS,
    RELEASES,
    STORE,
    decided,
    go_on,
)
from tests.inbox import put
from tidegate import embedded

ALL = sorted(RELEASES.iterdir())


@pytest.fixture(scope="module")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dumps are of its version; the server of other tests may be older."""
    with embedded.start(tmp_path_factory.mktemp("upgrade")) as server:
        yield server.url


def unpacked(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines()


@pytest.mark.parametrize("release", ALL, ids=lambda path: path.name)
def test_it_goes_on_from_what_an_older_release_left_as_that_release_did(
    release: Path, embedded_server: str, tmp_path: Path
) -> None:
    with databases.fresh(embedded_server, None) as url:
        restore = ["--exit-on-error", "--no-owner", f"--dbname={url}", str(release / DUMP)]
        subprocess.run([embedded.programs() / "pg_restore", *restore], check=True)
        with tarfile.open(release / STORE) as store:
            store.extractall(tmp_path, filter="data")
        expected = json.loads(gzip.decompress((release / DECISIONS).read_bytes()))
        payments, labels = unpacked(release / PAYMENTS), unpacked(release / LABELS)
        (before,) = query(url, "SELECT count(*) FROM score")
        assert before == (len(expected) - len(payments),)

        def tidegate(*command: str) -> str:
            env = {"TIDEGATE_DATABASE_URL": url, "TIDEGATE_DATA_DIR": str(tmp_path)}
            told = subprocess.run(
                [TIDEGATE, *command],
                env=env,
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            return told.stdout

        tidegate("migrate")
        put(url, payments, labels)
        go_on(url, tmp_path, len(expected))
        assert decided(url) == expected
        assert ", 0 differ" in tidegate("audit-replay")

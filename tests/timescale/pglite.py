"""TimescaleDB without a server of its own: PGlite, PostgreSQL in WebAssembly, inside Node.

PGlite has one session for all connections, wants `prepare_threshold=None` and dies of COPY FROM.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).parent
NEEDS = "TimescaleDB for tests needs node 20, and npm ci in tests/timescale"


class PGliteFailed(RuntimeError):
    """PGlite did not start; with what it said."""


def installed() -> bool:
    """Whether all that `NEEDS` names is there."""
    return shutil.which("node") is not None and (HERE / "node_modules").is_dir()


@contextmanager
def server() -> Iterator[str]:
    """URL of a PGlite of our own with an empty database, gone with all its data at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="tidegate-test-") as directory,
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            ["node", HERE / "server.mjs", Path(directory) / ".s.PGSQL.5432"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                log.seek(0)
                raise PGliteFailed(f"PGlite did not start: {log.read()}")
            host = quote(directory, safe="")
            yield f"postgresql://postgres:postgres@/template1?host={host}&port=5432&sslmode=disable"
        finally:
            process.stdin.close()  # which ends it

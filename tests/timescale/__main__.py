"""Runs the whole suite on Debian's TimescaleDB server: `python -m tests.timescale [pytest's own]`.

On a server of your own: set TIDEGATE_TEST_TIMESCALE_URL and run the tests as ever.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import TIMESCALE_URL
from tests.timescale import debian


def main() -> int:
    """The suite's exit code."""
    if not debian.installed():
        print(debian.NEEDS, file=sys.stderr)
        return 2
    with debian.server() as url:
        command = [sys.executable, "-m", "pytest", *sys.argv[1:]]
        return subprocess.run(
            command, env=os.environ | {TIMESCALE_URL: url}, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())

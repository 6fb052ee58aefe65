"""`python -m dataflows.worker`: one worker process of a run; started by `dataflows.runner`."""

from __future__ import annotations

import os
import sys

from dataflows.runner import RunFailed, run_worker, watch_parent
from tidegate import logs
from tidegate.settings import Settings

if __name__ == "__main__":
    monitoring = Settings.from_environ(os.environ).monitoring
    logs.configure(monitoring.log_level, monitoring.log_format)  # type: ignore[arg-type]
    job = sys.stdin.readline()
    watch_parent(sys.stdin)
    try:
        run_worker(job)
    except RunFailed as error:
        print(f"tidegate: {error}", file=sys.stderr)
        sys.exit(1)

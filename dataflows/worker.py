"""`python -m dataflows.worker`: one worker process of a run; started by `dataflows.runner`."""

from __future__ import annotations

import sys

from dataflows.runner import RunFailed, run_worker, watch_parent
from tidegate import logs

if __name__ == "__main__":
    logs.configure()
    job = sys.stdin.readline()
    watch_parent(sys.stdin)
    try:
        run_worker(job)
    except RunFailed as error:
        print(f"tidegate: {error}", file=sys.stderr)
        sys.exit(1)

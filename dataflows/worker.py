"""`python -m dataflows.worker`: one worker process of a run; started by `dataflows.supervisor`.

Exits with `KNOWN_FAILURE` and tells the supervisor why when starting again would not help.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import sys

from dataflows.clock import watch_clock
from dataflows.processes import KNOWN_FAILURE, TRACES, tell, watch_parent
from dataflows.supervisor import RunFailed
from dataflows.working import run_worker
from tidegate import logs, tracing
from tidegate.collector import settle
from tidegate.settings import Settings

if __name__ == "__main__":
    monitoring = Settings.from_environ(os.environ).monitoring
    faulthandler.register(TRACES)  # names of functions and lines, no values
    logs.configure(monitoring.log_level, monitoring.log_format)  # type: ignore[arg-type]
    settle()
    line = sys.stdin.readline()
    if not line:  # the supervisor has ended, and wants none
        sys.exit()
    watch_parent(sys.stdin)
    watch_clock()
    code = 0
    try:
        with tracing.sending(monitoring, "tidegate-flow"):
            run_worker(line)
    except RunFailed as error:
        code = KNOWN_FAILURE
        if not tell(str(error), json.loads(line)):
            print(f"tidegate: {error}", file=sys.stderr)
    # Not by the interpreter's own end: a thread of Bytewax or of a client that still runs would be
    # ended in the middle of foreign code, which then aborts the process ("exception not rethrown").
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)

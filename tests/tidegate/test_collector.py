"""What waits for answers is not held up by collections of what is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

API = """
import gc
from tidegate.cli import serving
from tidegate.settings import Settings
serving.Server.run = lambda self: print(gc.get_freeze_count(), len(gc.get_objects()))
url = "postgresql://nobody@127.0.0.1:1/none"
serving.serve(Settings.from_environ({"TIDEGATE_DATABASE_URL": url}), "127.0.0.1", 1)
"""

FLOW = """
import gc
from contextlib import nullcontext
from types import SimpleNamespace
from tidegate.cli import scoring
from tidegate.settings import Settings
scoring.usable = lambda settings: nullcontext(SimpleNamespace(url=url))
scoring.join_flow = lambda *_: print(gc.get_freeze_count(), len(gc.get_objects()))
url = "postgresql://nobody@127.0.0.1:1/none"
settings = Settings.from_environ({"TIDEGATE_DATABASE_URL": url})
scoring.supervise(settings, "127.0.0.1:1", "it", joins=True)
"""

WORKER = """
import gc, runpy
from dataflows import working
working.run_worker = lambda line: print(gc.get_freeze_count(), len(gc.get_objects()), flush=True)
runpy.run_module("dataflows.worker", run_name="__main__")
"""


@pytest.mark.parametrize("code", [API, FLOW, WORKER], ids=["api", "flow", "worker"])
def test_once_it_works_a_process_has_almost_nothing_to_collect(code: str) -> None:
    # Its standard input stays open: a worker whose supervisor is gone ends.
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("{}\n")
        process.stdin.flush()
        frozen, left = map(int, process.stdout.readline().split())
    assert frozen > 50_000
    assert left < frozen / 20

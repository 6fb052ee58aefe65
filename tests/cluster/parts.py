"""The programs that a node is made of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.kafka.broker import DIE_WITH_PARENT

BIN = Path(__file__).parent / "bin"  # that setup.sh fills
PATIENCE = 120.0  # seconds until each part must have started


class Parts:
    """Programs of a node, with their logs beside each other."""

    def __init__(self, directory: Path, made: ExitStack) -> None:
        self.directory = directory
        self._made = made
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, program: str, *arguments: str, **env: str) -> None:
        """Until the end; the kernel ends it when the tests die."""
        path = BIN / program
        command = [str(path) if path.exists() else program, *arguments]
        with (self.directory / f"{program}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-ISc", DIE_WITH_PARENT, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | env,
                start_new_session=True,
            )
        self._running[program] = process
        self._made.callback(_end, process)

    def dead(self) -> str:
        """What those said at last that ended by themselves; empty if none did."""
        return "\n".join(
            f"{program}: {(self.directory / f'{program}.log').read_text()[-3000:]}"
            for program, process in self._running.items()
            if process.poll() is not None
        )

    def wait(self, there: Callable[[], bool], what: str) -> None:
        """Until it is there. Raises RuntimeError when a program ended, AssertionError after
        PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        while True:
            why = "it is not there"
            try:
                if there():
                    return
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                why = str(error)
            if dead := self.dead():
                raise RuntimeError(dead)
            assert time.monotonic() < deadline, f"no {what} after {PATIENCE:g} s: {why}"
            time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

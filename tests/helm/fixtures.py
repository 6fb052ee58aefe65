"""What the tests of the chart run: Helm, and Prometheus with its checker of rules."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

_TOOLS = Path(__file__).parent / "bin"


@pytest.fixture(scope="session")
def helm() -> str:
    return _tool("helm")


@pytest.fixture(scope="session")
def checked() -> Callable[[Path, str], None]:
    """Has promtool check what a folder holds: `checked(folder, "check rules rules.yaml")`."""
    promtool = _tool("promtool")

    def check(folder: Path, command: str) -> None:
        told = subprocess.run(
            [promtool, *command.split()],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert told.returncode == 0, told.stdout + told.stderr

    return check


@pytest.fixture(scope="session")
def prometheus() -> str:
    return _tool("prometheus")


def _tool(name: str) -> str:
    if (found := shutil.which(name)) is not None:
        return found
    if (built := _TOOLS / name).is_file():
        return str(built)
    from tests.conftest import missing  # it imports this module

    missing(f"no {name}: run `make setup-tests`, or install it")

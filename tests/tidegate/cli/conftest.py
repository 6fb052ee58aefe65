"""The console script as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]

TIDEGATE = Path(sys.executable).with_name("tidegate")


@pytest.fixture
def tidegate(tmp_path: Path) -> Command:
    """Runs `tidegate` with these arguments, and settings given without their prefix, in an empty
    directory, with a database that nobody answers at unless one is given."""

    def run(*arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
        given = {
            name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE")
        }
        given |= {"TIDEGATE_DATABASE_URL": "postgresql:///none?host=/nowhere", "COLUMNS": "100"}
        given |= {"TIDEGATE_DATA_DIR": str(tmp_path / "data")}
        given |= {f"TIDEGATE_{name}": value for name, value in settings.items()}
        given = {name: value for name, value in given.items() if value}
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        return subprocess.run(
            [TIDEGATE, *map(str, arguments)],
            cwd=home,
            env=given,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run

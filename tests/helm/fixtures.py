"""What the tests of the chart run: Helm, and Prometheus' checker of rules."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

_TOOLS = Path(__file__).parent / "bin"


@pytest.fixture(scope="session")
def helm() -> str:
    return _tool("helm")


@pytest.fixture(scope="session")
def promtool() -> str:
    return _tool("promtool")


def _tool(name: str) -> str:
    if (found := shutil.which(name)) is not None:
        return found
    if (built := _TOOLS / name).is_file():
        return str(built)
    from tests.conftest import missing  # it imports this module

    missing(f"no {name}: run `make setup-tests`, or install it")

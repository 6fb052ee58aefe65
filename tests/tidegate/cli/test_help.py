"""Every command says what it does and which options it takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.tidegate.cli.conftest import Command

OPTIONS = {
    "demo": ["--transactions", "--exit", "--port"],
    "migrate": [],
    "run": ["--transactions", "--labels", "--workers", "--currency"],
    "api": ["--host", "--port"],
    "simulate": [
        *["--out", "--customers", "--terminals", "--days", "--seed", "--format"],
        *["--kafka", "--rate"],
    ],
    "evaluate": ["--data", "--delay-days", "--scores", "--currency"],
}


@pytest.mark.parametrize("command", OPTIONS)
def test_help_names_every_option(tidegate: Command, command: str) -> None:
    told = tidegate(command, "--help")
    assert told.returncode == 0
    assert told.stderr == ""
    assert f"tidegate {command}" in told.stdout
    for option in OPTIONS[command]:
        assert option in told.stdout


def test_help_names_every_command(tidegate: Command) -> None:
    told = tidegate("--help").stdout
    assert all(f"\n  {command} " in told for command in OPTIONS)
    assert tidegate("--version").stdout.startswith("tidegate ")


def test_without_a_command_the_help_is_shown(tidegate: Command) -> None:
    told = tidegate()
    assert told.returncode == 2
    assert "Commands:" in told.stdout + told.stderr
    assert "Traceback" not in told.stderr


def test_help_comes_without_importing_what_only_commands_need() -> None:
    program = (
        "import sys; from tidegate.cli import main; sys.argv = ['tidegate', 'run', '--help']\n"
        "try: main()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert told.returncode == 0
    heavy = {"bytewax", "river", "alembic", "psycopg", "fastapi"}
    assert heavy.isdisjoint(told.stderr.split())

"""What a check found, and how its tools are run."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(".venv/audit/bin")


@dataclass(frozen=True)
class Finding:
    """One thing. wrong: whether somebody has to do something about it."""

    what: str
    where: str = ""
    wrong: bool = True


def run(root: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command in the project's directory."""
    return subprocess.run(
        [str(word) for word in command], cwd=root, capture_output=True, text=True, check=False
    )

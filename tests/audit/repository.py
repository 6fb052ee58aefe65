"""Of the repository: secrets in its files, their modes, and what tests hold of image and chart."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

from tests.audit.findings import TOOLS, Finding, run

# What somebody looked at and found to be none; `detect-secrets scan --baseline` renews it.
BASELINE = ".secrets.baseline"
LINES_MOVED = 3
TESTED = ["tests/test_image.py", "tests/test_compose.py", "tests/helm", "tests/api/test_access.py"]


def secrets(root: Path) -> Iterator[Finding]:
    """What looks like a secret and is not in the baseline."""
    files = [name for name in run(root, "git", "ls-files").stdout.split() if name != BASELINE]
    hook = TOOLS / "detect-secrets-hook"
    with NamedTemporaryFile() as copy:  # it writes into it where lines have moved
        copy.write((root / BASELINE).read_bytes())
        copy.flush()
        found = run(root, hook, "--no-verify", "--json", "--baseline", copy.name, *files)
    if found.returncode in (0, LINES_MOVED):
        return
    if found.returncode != 1:
        yield Finding(f"detect-secrets: {found.stderr.strip()[:200]}")
        return
    for file, secrets in json.loads(found.stdout)["results"].items():
        for secret in secrets:
            yield Finding(str(secret["type"]), f"{file}:{secret['line_number']}")


def modes(root: Path) -> Iterator[Finding]:
    """What may be run and says not by what, and links that lead out of the repository."""
    for line in run(root, "git", "ls-files", "--stage").stdout.splitlines():
        mode, _, _, name = line.split(maxsplit=3)
        path = root / name
        if mode == "100755" and not path.read_bytes().startswith(b"#!"):
            yield Finding("may be run, and has no first line that says by what", name)
        if mode == "120000" and not path.resolve().is_relative_to(root.resolve()):
            yield Finding("leads out of the repository", name)


def tested(root: Path) -> Iterator[Finding]:
    """What the tests of image, compose file, chart and rights say."""
    said = run(root, sys.executable, "-m", "pytest", "-q", "--no-header", *TESTED)
    if said.returncode:
        for line in said.stdout.splitlines():
            if line.startswith(("FAILED", "ERROR")):
                yield Finding(line)
        yield Finding(said.stdout.strip().splitlines()[-1])

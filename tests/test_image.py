"""The image, as far as it can be tried without a container engine: what the Dockerfile copies is
all that the program needs, and it runs as the Dockerfile says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tidegate

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PACKAGES = ("api", "dataflows", "migrations", "models", "tidegate")


def copied() -> list[str]:
    """What the build stage takes from the repository."""
    build, _, _ = DOCKERFILE.partition("FROM python:${PYTHON}-slim-bookworm\n")
    lines = re.findall(r"^COPY (.+)$", build, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages as the build stage installs them, from nothing but what it copies."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in copied():
        place = source / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place)
    # As in the Dockerfile, into a folder in place of an environment that has the dependencies.
    told = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
            *("--no-deps", "--no-build-isolation", "--target", str(target), str(source)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return target


def test_every_file_of_the_packages_is_installed(installed: Path) -> None:
    wanted = {
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in wanted if not (installed / path).is_file()} == set()


@pytest.mark.parametrize(
    "command", ["run", "api", "migrate", "maintain", "doctor", "demo", "keys", "audit-replay"]
)
def test_it_has_every_command(installed: Path, tmp_path: Path, command: str) -> None:
    told = subprocess.run(
        [sys.executable, str(installed / "bin" / "tidegate"), command, "--help"],
        cwd=tmp_path,
        env={"PATH": os.defpath, "PYTHONPATH": str(installed), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert f"tidegate {command}" in told.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_is_the_copy_that_runs(installed: Path, tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import tidegate; print(tidegate.__file__, tidegate.__version__)"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert told.stdout.split() == [
        str(installed / "tidegate" / "__init__.py"),
        tidegate.__version__,
    ]


def test_it_runs_without_root_and_by_number() -> None:
    final = DOCKERFILE.rpartition("FROM ")[2]
    (user,) = re.findall(r"^USER (\S+)$", final, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    chart = (ROOT / "helm/tidegate/templates/_helpers.tpl").read_text()
    assert f"runAsUser: {user.partition(':')[0]}" in chart


def test_only_locked_dependencies_are_installed() -> None:
    installs = re.findall(r"pip install (.+?)(?: \\)?$", DOCKERFILE, re.MULTILINE)
    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)


def test_what_it_copies_is_not_ignored() -> None:
    let_pass = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert let_pass == set(copied())

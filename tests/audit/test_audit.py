"""The audit finds what it is for. Its tools are not asked here: `make audit` installs them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.audit import dependencies, repository
from tests.audit.dependencies import SBOM, SHIPPED
from tests.audit.findings import Finding


def named(name: str, *licences: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "version": "1", "licenses": list(licences)}


@pytest.mark.parametrize(
    ("component", "wrong"),
    [
        (named("numpy", {"expression": "BSD-3-Clause AND MIT AND Zlib"}), []),
        (named("a", {"license": {"name": "License :: OSI Approved :: BSD License"}}), []),
        (named("psycopg_pool", {"license": {"id": "LGPL-3.0-only"}}), []),
        (named("bytewax"), []),
        (named("other", {"license": {"id": "LGPL-3.0-only"}}), ["is under LGPL-3.0-only"]),
        (named("b", {"expression": "MIT AND GPL-3.0-only"}), ["is under GPL-3.0-only"]),
        (named("c", {"license": {"name": "Proprietary"}}), ["is under Proprietary"]),
        (named("d"), ["says no licence"]),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_licences_that_may_not_be_used_are_found(
    tmp_path: Path, component: dict[str, Any], wrong: list[str]
) -> None:
    (tmp_path / SBOM).parent.mkdir()
    (tmp_path / SBOM).write_text(json.dumps({"components": [component]}))
    assert [finding.what for finding in dependencies.licences(tmp_path)] == wrong


def answered(monkeypatch: pytest.MonkeyPatch, output: str, error: str = "") -> None:
    told = subprocess.CompletedProcess([], 1, output, error)
    monkeypatch.setattr(dependencies, "run", lambda *_: told)


def test_vulnerabilities_are_told_with_the_version_that_mends_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = {"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": [], "description": ""}
    packages = [
        {"name": "a", "version": "2.0", "vulns": [known]},
        {"name": "b", "version": "1.0", "vulns": []},
    ]
    answered(monkeypatch, json.dumps({"dependencies": packages, "fixes": []}))
    assert list(dependencies.vulnerabilities(tmp_path)) == [
        Finding("PYSEC-1, fixed in 2.1", "a"),
    ]


def test_what_could_not_be_checked_is_told_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answered(monkeypatch, json.dumps({"dependencies": [{"name": "a", "skip_reason": "unknown"}]}))
    (skipped,) = dependencies.vulnerabilities(tmp_path)
    assert (skipped.wrong, "1 of 1" in skipped.what) == (False, True)
    answered(monkeypatch, "", "no route to host")
    (away,) = dependencies.vulnerabilities(tmp_path)
    assert away == Finding("not checked: no route to host", wrong=False)


def test_modes_that_are_wrong_are_found(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "good").write_text("#!/bin/sh\n")
    (tmp_path / "bad").write_text("echo\n")
    (tmp_path / "plain").write_text("echo\n")
    (tmp_path / "out").symlink_to("/etc/passwd")
    (tmp_path / "in").symlink_to("plain")
    for name in ("good", "bad"):
        (tmp_path / name).chmod(0o755)
    git("add", ".")
    assert [finding.where for finding in repository.modes(tmp_path)] == ["bad", "out"]


def test_what_is_pinned_for_other_machines_is_not_missed() -> None:
    root = Path(__file__).parents[2]
    pinned = dependencies._pinned(root / SHIPPED)
    assert {"psycopg", "bytewax", "river"} <= pinned
    assert "colorama" not in pinned  # for Windows

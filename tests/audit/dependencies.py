"""Of the packages that are installed: a bill of materials, licences, known vulnerabilities."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tests.audit.findings import TOOLS, Finding, run

SBOM = "build/sbom.json"
SHIPPED = "requirements/base.txt"

ALLOWED = re.compile(
    r"0BSD|Apache|BSD|CC0|ISC|MIT|Mozilla|MPL|PSF|Public Domain|Unlicense|Zlib|DFSG approved",
)
# LGPL is fine for a library that is imported and may be exchanged.
LESSER = {"psycopg", "psycopg-binary", "psycopg-pool"}
# Their packages do not say; their repositories do.
SAID_ELSEWHERE = {
    "axe-playwright-python": "MIT",
    "bytewax": "Apache-2.0",
    "kubernetes-validate": "Apache-2.0",
    "protobuf": "BSD-3-Clause",
}


def bill(root: Path) -> Iterator[Finding]:
    """Writes the bill of materials, and misses in it what is shipped."""
    (root / SBOM).parent.mkdir(exist_ok=True)
    made = run(
        root,
        *(TOOLS / "cyclonedx-py", "environment", ".venv/bin/python"),
        *("--pyproject", "pyproject.toml", "--output-reproducible"),
        *("--spec-version", "1.6", "--output-format", "JSON", "--output-file", SBOM),
    )
    if made.returncode:
        yield Finding(f"cyclonedx-py: {made.stderr.strip()}")
        return
    listed = {_normal(component["name"]) for component in _components(root)}
    for name in sorted(_pinned(root / SHIPPED) - listed):
        yield Finding("pinned, and not in the bill of materials", name)


def licences(root: Path) -> Iterator[Finding]:
    """What may not be used, or does not say how."""
    for component in _components(root):
        name = _normal(component["name"])
        said = [_licence(entry) for entry in component.get("licenses", ())]
        said = said or [SAID_ELSEWHERE[name]] if name in SAID_ELSEWHERE else said
        if not said:
            yield Finding("says no licence", name)
        for licence in said:
            for part in licence.split(" AND "):
                lesser = "LGPL" in part and name in LESSER
                if not lesser and not ALLOWED.search(part):
                    yield Finding(f"is under {part}", name)


def vulnerabilities(root: Path) -> Iterator[Finding]:
    """What is known of the packages that are shipped, where a database can be reached."""
    asked = run(
        root,
        *(TOOLS / "pip-audit", "--requirement", SHIPPED, "--require-hashes", "--disable-pip"),
        *("--progress-spinner", "off", "--format", "json"),
    )
    if not asked.stdout.strip():
        why = asked.stderr.strip().splitlines()[-1:] or ["no answer"]
        yield Finding(f"not checked: {why[0][:200]}", wrong=False)
        return
    told = json.loads(asked.stdout)["dependencies"]
    skipped = [package["name"] for package in told if "skip_reason" in package]
    for package in told:
        for known in package.get("vulns", ()):
            fixed = ", ".join(known["fix_versions"]) or "no version"
            yield Finding(f"{known['id']}, fixed in {fixed}", f"{package['name']}")
    if skipped:
        what = f"not checked, as the database has nothing of them: {len(skipped)} of {len(told)}"
        yield Finding(what, ", ".join(skipped[:5]), wrong=False)


def _components(root: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((root / SBOM).read_text())["components"]
    return found


def _licence(entry: dict[str, Any]) -> str:
    one = entry.get("license", {})
    return str(entry.get("expression") or one.get("id") or one.get("name"))


def _pinned(file: Path) -> set[str]:
    """What of the pinned packages is for this kind of machine."""
    pinned = map(Requirement, re.findall(r"^[\w.-]+==[^\\\n]+", file.read_text(), re.MULTILINE))
    return {_normal(one.name) for one in pinned if one.marker is None or one.marker.evaluate()}


def _normal(name: str) -> str:
    """As PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()

"""`python -m tests.audit`: what is wrong with what we ship, in a table; 1 where something is.

The tools are in an environment of their own, which `make audit` makes (requirements/audit.txt).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.audit import dependencies, repository
from tests.audit.findings import Finding

ROOT = Path(__file__).parents[2]

CHECKS: dict[str, Callable[[Path], Iterator[Finding]]] = {
    "bill of materials (build/sbom.json)": dependencies.bill,
    "licences": dependencies.licences,
    "known vulnerabilities": dependencies.vulnerabilities,
    "secrets": repository.secrets,
    "modes of files": repository.modes,
    "container, compose, chart, rights of routes": repository.tested,
}


def main() -> int:
    """Runs every check, also after one has found something."""
    table = Table("check", "finding", "where")
    failed = False
    for name, check in CHECKS.items():
        found = list(check(ROOT))
        failed |= any(finding.wrong for finding in found)
        table.add_row(name, "" if found else "none", "")
        for finding in found:
            table.add_row("", ("" if finding.wrong else "note: ") + finding.what, finding.where)
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

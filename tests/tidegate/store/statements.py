"""Every statement that `tidegate.store` has: `python -m tests.tidegate.store.statements` prints
them.

What it prints is kept for each revision that was the newest of a release, as NNNN.json in
tests/migrations/releases, so that a later schema can be asked whether that release still works with
it.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from psycopg import sql

import tidegate.store

BEGINS = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
PARAMETER = re.compile(r"%\((\w+)\)[sbt]|%[sbt]|%%")


def statements() -> dict[str, str]:
    """By module and name; what is put together when it is asked is not among them."""
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(tidegate.store.__path__, "tidegate.store."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if not name.startswith("__") and name.upper() == name:
                for part, text in _texts(name, value):
                    if BEGINS.match(text) and not re.search(r"\{\w*\}", text):
                        found[f"{module.name.removeprefix('tidegate.store.')}.{part}"] = text
    return found


def numbered(statement: str) -> str:
    """The statement with PostgreSQL's own parameters, as psycopg sends it."""
    seen: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        name = match[1] or f" {len(seen)}"
        return f"${seen.setdefault(name, len(seen) + 1)}"

    return PARAMETER.sub(number, statement)


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _texts(f"{name}[{key}]", part)
    elif isinstance(value, str):
        yield name, value
    elif isinstance(value, sql.Composable):
        yield name, value.as_string(None)


if __name__ == "__main__":
    json.dump(statements(), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")

"""What Tidegate shows to Prometheus."""

from __future__ import annotations

import re

from tidegate.metrics import REGISTRY

_ENDS = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
# What a rule records has the level that it is summed to before its name, and a colon.
_METRIC = re.compile(r"(?<![\w:])(?:tidegate|process)_\w+")

# Names of all series, as they are asked for. ProcessCollector makes its own where it is asked.
SERIES = frozenset(
    family.name + end for family in REGISTRY.collect() for end in _ENDS.get(family.type, ("",))
)


def asked(expression: str) -> set[str]:
    """The series that an expression asks for."""
    return set(_METRIC.findall(expression))

"""What is sealed comes back as it was, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from dataflows.sealed import seal, unseal
from models.portable import BadState


@dataclass
class Place:
    name: str
    number: int | None = None
    waiting: set[int] = field(default_factory=set)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(-1, int), (2**62, int), (Place("é", 3, {5, 2}), Place), (Place(""), Place), ([1, [2]], list)],
)
def test_a_value_comes_back(value: Any, kind: type) -> None:
    assert unseal("thing", 1, seal("thing", 1, value), kind) == value


def test_equal_values_give_equal_bytes() -> None:
    one, other = {1, 9, 2**40}, {2**40, 9, 1}
    assert seal("thing", 1, Place("a", 1, one)) == seal("thing", 1, Place("a", 1, other))


def test_any_altered_or_missing_byte_is_found() -> None:
    whole = seal("thing", 1, Place("name", 300, {1, 2, 3}))
    for place in range(len(whole)):
        for flip in (1, 0x20, 0x80, 0xFF):
            torn = bytearray(whole)
            torn[place] ^= flip
            with pytest.raises(BadState):
                unseal("thing", 1, bytes(torn), Place)
        with pytest.raises(BadState):
            unseal("thing", 1, whole[:place], Place)


@pytest.mark.parametrize(
    ("kind", "version", "into"), [("x", 1, int), ("thing", 2, int), ("thing", 1, str)]
)
def test_other_kinds_versions_and_types_are_refused(kind: str, version: int, into: type) -> None:
    with pytest.raises(BadState):
        unseal(kind, version, seal("thing", 1, 7), into)

"""Waits until all parts of a numbered step have come, and gives the steps out in their order.

Parts travel by different ways and overtake each other. A step that works on one only when it is
whole, and on one after the other, computes the same whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar


class Part(Protocol):
    """Anything that belongs to a step."""

    @property
    def number(self) -> int:
        """The step's number."""


P = TypeVar("P", bound=Part)


class Lockstep(Generic[P]):
    """Collects parts of steps, `parts` of them each."""

    def __init__(self, parts: int, next_number: int = 0) -> None:
        self._parts = parts
        self._waiting: dict[int, list[P]] = {}
        self.next_number = next_number

    def whole(self, arrived: Iterable[P]) -> Iterator[list[P]]:
        """Takes parts in; gives the steps that are whole now, in order."""
        for part in arrived:
            self._waiting.setdefault(part.number, []).append(part)
        while len(self._waiting.get(self.next_number, ())) == self._parts:
            parts = self._waiting.pop(self.next_number)
            self.next_number += 1
            yield parts

    def settle(self) -> int:
        """The number of the next step, for a snapshot. Everything that a source sent before a
        snapshot has come by then, so nothing may be left waiting."""
        if self._waiting:
            missing = {number: len(parts) for number, parts in sorted(self._waiting.items())}
            raise RuntimeError(
                f"a snapshot found steps with parts missing: {missing} of {self._parts}"
            )
        return self.next_number

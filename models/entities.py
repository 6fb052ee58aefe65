"""Which row of a shard's arrays belongs to which entity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from models.portable import pack_texts, unpack_texts
from tidegate.schema import Ints, Texts, texts

SMALLEST = 256  # entities that room is made for at first


class Entities:
    """Names of entities and their rows, numbered from 0 in order of appearance."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, names: Texts) -> Ints:
        """The row of each name; a name not seen before gets the next one."""
        known = self._rows
        found = [known.get(name, -1) for name in names]
        if -1 in found:
            for position, row in enumerate(found):
                if row < 0:
                    found[position] = known.setdefault(names[position], len(known))
        return np.array(found, np.int64)

    def keep(self, mask: npt.NDArray[np.bool_]) -> None:
        """Forgets the entities whose mask is false; the others close ranks in order."""
        names = [name for name, kept in zip(self._rows, mask.tolist(), strict=True) if kept]
        self._rows = {name: row for row, name in enumerate(names)}

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """The names as plain arrays."""
        return pack_texts(texts(list(self._rows)))

    @classmethod
    def load(cls, data: npt.NDArray[np.uint8], lengths: Ints) -> Entities:
        """What `dump` wrote."""
        entities = cls()
        entities._rows = {name: row for row, name in enumerate(unpack_texts(data, lengths))}
        return entities


def in_rounds(entities: Ints, step: Callable[[Ints], None]) -> None:
    """Calls `step` with row numbers such that no entity occurs twice in a call and the rows of one
    entity come in their order. Most batches take one or two calls; an entity with k rows takes k.
    """
    order = np.argsort(entities, kind="stable")
    ordered = entities[order]
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    if first.all():
        step(np.arange(len(entities)))
        return
    starts = np.flatnonzero(first)
    rank = np.empty(len(ordered), np.int64)
    rank[order] = np.arange(len(ordered)) - np.repeat(starts, np.diff([*starts, len(ordered)]))
    by_rank = np.argsort(rank, kind="stable")
    ends = np.cumsum(np.bincount(rank)).tolist()
    for begin, end in zip([0, *ends], ends, strict=False):
        step(by_rank[begin:end])

"""Columns of text on their way in, and what was found wrong with their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.schema import Bools, Ints, Reason, Texts, nothing, texts


class Fault(NamedTuple):
    """What is wrong with a row: one line of detail that never repeats a card number."""

    reason: Reason
    field: str | None
    detail: str


@dataclass(slots=True)
class Faults:
    """The first fault found in each of `rows` rows."""

    rows: int
    first: dict[int, Fault] = field(default_factory=dict)

    def add(
        self,
        where: Bools,
        reason: Reason,
        field: str | None,
        detail: str | Callable[[int], str],
    ) -> None:
        """Notes a fault of the rows in the mask that have none yet; the detail may be a function
        of the row."""
        for row in np.flatnonzero(where).tolist():
            if row not in self.first:
                line = detail if isinstance(detail, str) else detail(row)
                self.first[row] = Fault(reason, field, line)

    def add_row(self, row: int, reason: Reason, field: str | None, detail: str) -> None:
        """Notes a fault of one row, if it has none yet."""
        self.first.setdefault(row, Fault(reason, field, detail))

    def bad(self) -> Bools:
        """Which rows have a fault."""
        mask = np.zeros(self.rows, dtype=np.bool_)
        mask[list(self.first)] = True
        return mask

    def good(self) -> Ints:
        """The rows without a fault, in order."""
        return np.flatnonzero(~self.bad())


def as_mask(found: pa.BooleanArray) -> Bools:
    """A mask of an Arrow array, False for null."""
    if found.null_count:
        found = pc.fill_null(found, False)
    mask: Bools = found.to_numpy(zero_copy_only=False)
    return mask


def byte_lengths(values: pa.StringArray) -> Ints:
    """How many bytes each text has, 0 for null. In a small batch, a tenth of what a call of Arrow's
    functions takes."""
    _, offsets, _ = values.buffers()
    if offsets is None:
        return np.zeros(len(values), np.int64)
    begin, end = values.offset, values.offset + len(values) + 1
    ends = np.frombuffer(offsets, np.int32)[begin:end].astype(np.int64)
    lengths: Ints = ends[1:] - ends[:-1]
    if values.null_count:  # a null may own bytes
        lengths[as_mask(values.is_null())] = 0
    return lengths


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column of text, null where a row has none.

    `values` holds one text a row, or, where `codes` is given, the distinct texts, of which
    `codes` picks one a row (-1 for null): so that what repeats is checked and hashed once.
    """

    values: pa.StringArray
    codes: npt.NDArray[np.int32] | None = None
    given: Texts | None = None  # the rows' texts as Python objects, if they are at hand

    @classmethod
    def of(cls, given: Sequence[str | None]) -> TextColumn:
        """The column of the texts."""
        return cls(pa.array(given, pa.string()), given=texts(given))

    @classmethod
    def of_dictionary(cls, array: pa.DictionaryArray) -> TextColumn:
        """The column of a dictionary-encoded array of strings."""
        if len(array.dictionary) > 2 * len(array) + 16:  # most of it belongs to other rows
            return cls(array.cast(pa.string()))
        codes = pc.fill_null(array.indices.cast(pa.int32()), -1).to_numpy(zero_copy_only=False)
        return cls(array.dictionary.cast(pa.string()), codes)

    def __len__(self) -> int:
        return len(self.values) if self.codes is None else len(self.codes)

    def spread(self, mask: Bools) -> Bools:
        """A mask over `values` as one over the rows, False for null."""
        if self.codes is None:
            return mask
        return np.append(mask, False)[self.codes]

    def spread_hashes(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """Hashes of `values` as hashes of the rows, 0 for null."""
        if self.codes is None:
            return hashes
        return np.append(hashes, np.uint64(0))[self.codes]

    def is_null(self) -> Bools:
        """Which rows have no text."""
        null = as_mask(self.values.is_null())
        if self.codes is None:
            return null
        return np.append(null, True)[self.codes]

    def without(self, mask: Bools) -> TextColumn:
        """The column with null for some of its `values`."""
        if not mask.any():
            return self
        return TextColumn(pc.if_else(pa.array(mask), None, self.values), self.codes, self.given)

    def text(self, row: int) -> str:
        """The text of a row that has one."""
        place = row if self.codes is None else int(self.codes[row])
        found: str = self.values[place].as_py()
        return found

    def objects(self) -> Texts:
        """The rows as Python objects, None for null."""
        if self.given is not None:
            return self.given
        found: Texts = self.values.to_numpy(zero_copy_only=False)
        if self.codes is None:
            return found
        return np.append(found, nothing(1))[self.codes]

"""Which transactions a card shard took lately: tells a repeat from an id that is used again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.portable import pack_texts, unpack_texts
from tidegate.schema import DAY, Batch, texts

NEW, REPEAT, REUSED = 0, 1, 2

MOST = 5_000_000  # ids remembered by a shard; beyond, the oldest are forgotten before their time

_PIECE = 8_192  # ids that are saved as they were put together once


class RecentIds:
    """The ids of the last 24 hours of the stream, each with a hash of its transaction's content."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._seen: dict[str, int] = {}
        # In the order of their arrival: whole pieces, which a snapshot has not to put together
        # again, and what came after them.
        self._pieces: deque[_Piece] = deque()
        self._names: list[str] = []
        self._times: list[int] = []

    def check(self, batch: Batch, now: int) -> npt.NDArray[np.int8]:
        """NEW, REPEAT (same content) or REUSED (other content) for each row, and remembers the
        new ones. now: the stream's time, microseconds since the epoch."""
        self._forget(now)
        seen, names = self._seen, self._names
        result = np.zeros(len(batch), np.int8)
        pairs = zip(batch.transaction_id.tolist(), batch.content.tolist(), strict=True)
        for row, (name, content) in enumerate(pairs):
            known = seen.get(name)
            if known is None:
                seen[name] = content
                names.append(name)
            else:
                result[row] = REPEAT if known == content else REUSED
        self._times += [now] * (len(names) - len(self._times))
        if len(names) >= _PIECE:
            self._close()
        if len(seen) > self._most:
            self._close()
            self._drop_oldest(len(seen) - self._most)
        return result

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """What is remembered, as plain arrays."""
        parts = [piece.arrays() for piece in self._pieces]
        parts.append(_Piece(self._names, self._times, self._seen).arrays())
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def load(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """What `dump` gave."""
        names = unpack_texts(arrays["bytes"], arrays["lengths"]).tolist()
        times = arrays["times"].tolist()
        self._seen = dict(zip(names, arrays["content"].tolist(), strict=True))
        self._pieces = deque(
            _Piece(names[at : at + _PIECE], times[at : at + _PIECE], self._seen)
            for at in range(0, len(names), _PIECE)
        )
        self._names, self._times = [], []

    def _close(self) -> None:
        if self._names:
            self._pieces.append(_Piece(self._names, self._times, self._seen))
        self._names, self._times = [], []

    def _forget(self, now: int) -> None:
        while (oldest := self._oldest()) is not None and oldest <= now - DAY:
            if not self._pieces:
                self._close()
            self._drop_oldest(self._pieces[0].older(now - DAY))

    def _oldest(self) -> int | None:
        """When the first of them arrived."""
        if self._pieces:
            return self._pieces[0].first
        return self._times[0] if self._times else None

    def _drop_oldest(self, count: int) -> None:
        while count:
            oldest = self._pieces[0]
            dropped = min(count, oldest.left)
            for name in oldest.drop(dropped):
                del self._seen[name]
            count -= dropped
            if not oldest.left:
                self._pieces.popleft()


class _Piece:
    """Ids that arrived one after the other; the first of them go first."""

    def __init__(self, names: Sequence[str], times: Sequence[int], seen: dict[str, int]) -> None:
        self._names = names
        self._arrays: dict[str, npt.NDArray[Any]] = {
            **pack_texts(texts(names)),
            "content": np.array([seen[name] for name in names], np.uint64),
            "times": np.array(times, np.int64),
        }
        self._gone = 0

    @property
    def left(self) -> int:
        """How many there are."""
        return len(self._names) - self._gone

    @property
    def first(self) -> int:
        """When the first of them arrived."""
        return int(self._arrays["times"][self._gone])

    def older(self, than: int) -> int:
        """How many of them arrived at that time or before, counted from the first."""
        young = self._arrays["times"][self._gone :] > than
        return int(young.argmax()) if young.any() else self.left

    def drop(self, count: int) -> Sequence[str]:
        """Lets so many go, and names them."""
        begin, self._gone = self._gone, self._gone + count
        return self._names[begin : self._gone]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Those that are left."""
        if not self._gone:
            return self._arrays
        begin = int(self._arrays["lengths"][: self._gone].sum())
        rest = {name: array[self._gone :] for name, array in self._arrays.items()}
        return rest | {"bytes": self._arrays["bytes"][begin:]}

"""Which transactions a card shard took lately: tells a repeat from an id that is used again."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from models.portable import pack_texts, unpack_texts
from tidegate.schema import DAY, Batch, Hashes, Ints, texts

NEW, REPEAT, REUSED = 0, 1, 2

MOST = 5_000_000  # ids remembered by a shard; beyond, the oldest are forgotten before their time


class RecentIds:
    """The ids of the last 24 hours of the stream, each with a hash of its transaction's content."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._seen: dict[str, int] = {}
        self._arrivals: deque[tuple[int, str]] = deque()

    def check(self, batch: Batch, now: int) -> npt.NDArray[np.int8]:
        """NEW, REPEAT (same content) or REUSED (other content) for each row, and remembers the
        new ones. now: the stream's time, microseconds since the epoch."""
        self._forget(now)
        seen, arrivals = self._seen, self._arrivals
        result = np.zeros(len(batch), np.int8)
        pairs = zip(batch.transaction_id.tolist(), batch.content.tolist(), strict=True)
        for row, (name, content) in enumerate(pairs):
            known = seen.get(name)
            if known is None:
                seen[name] = content
                arrivals.append((now, name))
            else:
                result[row] = REPEAT if known == content else REUSED
        while len(seen) > self._most:
            del seen[arrivals.popleft()[1]]
        return result

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """What is remembered, as plain arrays."""
        names = texts([name for _, name in self._arrivals])
        content: Hashes = np.array([self._seen[name] for name in names], np.uint64)
        times: Ints = np.array([time for time, _ in self._arrivals], np.int64)
        return {**pack_texts(names), "content": content, "times": times}

    def load(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """What `dump` gave."""
        names = unpack_texts(arrays["bytes"], arrays["lengths"]).tolist()
        self._seen = dict(zip(names, arrays["content"].tolist(), strict=True))
        self._arrivals = deque(zip(arrays["times"].tolist(), names, strict=True))

    def _forget(self, now: int) -> None:
        while self._arrivals and self._arrivals[0][0] <= now - DAY:
            del self._seen[self._arrivals.popleft()[1]]

"""A store in memory: `tidegate evaluate` runs the same flow without a database."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from dataflows.messages import Marks, Outcome, nothing_served, order_of
from tidegate.schema import CHAMPION, Decision, Decisions, Metric, Served


class MemoryStore:
    """Keeps what was served for as long as feedback may ask for it; both `Writer` and `History`.

    keep: microseconds of event time; older payments are let go. on_decisions is called with every
    part that is decided, on_metrics with what is measured.
    """

    def __init__(
        self,
        partitions: Sequence[str],
        keep: int,
        on_decisions: Callable[[Decisions], None],
        on_metrics: Callable[[Sequence[Metric]], None] = lambda metrics: None,
    ) -> None:
        self._last = dict.fromkeys(partitions, -1)
        self._keep = keep
        self._on_decisions = on_decisions
        self._on_metrics = on_metrics
        self._parts: deque[tuple[int, int, Served]] = deque()  # least and greatest event time
        self._newest = 0
        self._marks: dict[tuple[str, int], int] = {}

    def begin(self, partition: str, sequence: int | None) -> None:
        """Nothing outlives the process, so there is nothing to resume."""

    def write(self, partition: str, outcomes: list[Outcome]) -> None:
        """Takes outcomes in; they are there at once."""
        for outcome in outcomes:
            self._marks.update(outcome.marks)
            if outcome.decisions is not None:
                self._take(outcome.decisions)
            self._on_metrics(outcome.metrics)
            self._last[partition] = max(outcome.number, self._last[partition])

    def settle(self, partition: str) -> int:
        """The last step of the partition."""
        return self._last[partition]

    def durable(self) -> int:
        """The last step of which everything is there."""
        return min(self._last.values())

    def marks(self) -> Marks:
        """How far the messages of Kafka's partitions have come."""
        return self._marks

    def serving(self) -> str:
        """The model to score with: nobody promotes another here."""
        return CHAMPION

    def between(self, after: int, until: int) -> Future[Served]:
        """Payments with after < event time <= until, by event time and id."""
        found = [
            part.take((part.event_time > after) & (part.event_time <= until))
            for least, greatest, part in self._parts
            if greatest > after and least <= until
        ]
        return _done(_ordered(found))

    def by_ids(self, ids: Sequence[str], now: int) -> Future[Served]:
        """The payments with these ids as far as they are kept, decided before `now`."""
        wanted = set(ids)
        found = []
        for _, _, part in self._parts:
            here = zip(part.transaction_id, part.stream_time.tolist(), strict=True)
            rows = [row for row, (name, at) in enumerate(here) if at < now and name in wanted]
            if rows:
                found.append(part.take(np.array(rows, np.int64)))
        return _done(_ordered(found))

    def _take(self, decisions: Decisions) -> None:
        self._on_decisions(decisions)
        batch = decisions.batch
        least, greatest = int(batch.event_time.min()), int(batch.event_time.max())
        self._newest = max(self._newest, greatest)
        served = Served(
            batch.transaction_id,
            batch.event_time,
            batch.card_token,
            batch.terminal_id,
            decisions.features,
            decisions.log_odds,
            np.full(len(decisions), decisions.stream_time, np.int64),
            decisions.decision == Decision.DECLINE,
            decisions.propensity,
        )
        self._parts.append((least, greatest, served))
        while self._parts and self._parts[0][1] < self._newest - self._keep:
            self._parts.popleft()


def _ordered(parts: list[Served]) -> Served:
    found = Served.concat(parts) if parts else nothing_served()
    return found.take(order_of(found.event_time, found.transaction_id.tolist()))


def _done(served: Served) -> Future[Served]:
    answer: Future[Served] = Future()
    answer.set_result(served)
    return answer

"""How much of what was handed on has landed: is decided and stored."""

from __future__ import annotations

import time
from collections.abc import Collection

from confluent_kafka import Message

from dataflows.live.lines import Line, waited
from dataflows.store import History
from tidegate import metrics

_EVERY = 1.0  # seconds between two questions where nobody is held up
_ANSWERED = 0.05  # seconds after which the database has told, if it can be told at all


class Landing:
    """Lets lines hear of it: at once where it matters to one of them, else each second."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._asked = 0.0
        self._due = False

    def hear(self, lines: Collection[Line]) -> bool:
        """To be called again and again. Whether this second's answer is there now."""
        now = time.monotonic()
        fresh = self._due and now - self._asked >= _ANSWERED
        if fresh or any(line.crowded for line in lines):
            marks = self._history.marks()
            for line in lines:
                line.hear(marks)
        if fresh:
            self._due = False
        elif now - self._asked >= _EVERY:
            self._asked, self._due = now, True
            self._history.marks()  # which asks, and tells of an older answer
        return fresh


def show(line: Line, lag: int, oldest: Message | None) -> None:
    """Tells of it in the metrics: so many messages wait to land, this one for the longest."""
    of = line.topic, str(line.partition)
    metrics.CONSUMER_LAG.labels(*of).set(lag)
    metrics.CONSUMER_LAG_SECONDS.labels(*of).set(waited(oldest, time.time()))

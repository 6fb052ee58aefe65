"""One round of feedback at a time: what became known meets the payments that are stored.

A round begins when the stream's time moves on or labels came, waits in the background until what
was sent before it is durable, asks the database, and ends with examples to learn. Nothing here
blocks: whoever holds it calls `poll` again and again.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from dataflows.flight import Flight
from dataflows.live.book import Book
from dataflows.store import History
from tidegate.schema import Examples, Labels, Served

LABELS_EVERY = 5.0  # seconds at least between rounds that only labels call for

_LONG_AGO = -(2**62)  # an event time before all others


@dataclass
class _Round:
    now: int  # the stream's time that it makes known, microseconds
    sent: int  # the last step sent before it began
    asked: list[str]  # payments whose labels are looked for
    passed: set[str] = field(default_factory=set)  # those of them that were sent meanwhile
    matured: Future[Served] | None = None
    labelled: Future[Served] | None = None


class Feedback:
    """What became known so far, and the round that is under way, if any."""

    def __init__(self, history: History, flight: Flight, maturity: int) -> None:
        self._history = history
        self._flight = flight
        self._maturity = maturity
        self.book = Book(maturity)
        self.known_to: int | None = None  # the time that the last round made known
        self._round: _Round | None = None
        self._ended = 0.0

    def hear(self, labels: Labels) -> None:
        """Takes labels in, for the next round."""
        self.book.hear(labels)

    def passing(self, ids: list[str]) -> None:
        """Payments are sent: labels may have waited for them."""
        asked = self._round.asked if self._round is not None else ()
        passed = self.book.passing(ids, asked)
        if self._round is not None:
            self._round.passed |= passed

    @property
    def busy(self) -> bool:
        """Whether a round is under way."""
        return self._round is not None

    def wanted(self, now: int) -> bool:
        """Whether a round should begin: time has moved on, or labels have waited long enough."""
        if self._round is not None:
            return False
        if self.known_to is None or now > self.known_to:
            return True
        return bool(self.book.open) and time.monotonic() - self._ended >= LABELS_EVERY

    def due_in(self) -> float | None:
        """Seconds until a round of labels alone may begin, None when there are none."""
        if self._round is not None or not self.book.open:
            return None
        return max(0.0, self._ended + LABELS_EVERY - time.monotonic())

    def begin(self, now: int, sent: int) -> None:
        """Begins a round at the stream's time `now`; sent: the last step that was sent."""
        self._round = _Round(now, sent, self.book.ask())

    def poll(self) -> Examples | None:
        """Goes on with the round; its examples, once it has ended."""
        current = self._round
        if current is None:
            return None
        if current.matured is None:
            # Only when all that was sent is durable does an absent payment say that it never came.
            if not self._flight.landed(current.sent):
                return None
            until = current.now - self._maturity
            # At the very first, what is older is none of this stream's.
            after = until if self.known_to is None else self.known_to - self._maturity
            current.matured = self._history.between(after, max(after, until))
            # What was sent by now, and not what an earlier life stored beyond its last snapshot:
            # the stream has yet to come to that, and its labels wait for it.
            current.labelled = self._history.by_ids(current.asked, current.now + 1)
        assert current.labelled is not None
        if not (current.matured.done() and current.labelled.done()):
            return None
        mature = _LONG_AGO if self.known_to is None else self.known_to - self._maturity
        told = self.book.tell(
            current.asked,
            current.passed,
            current.labelled.result(),
            current.matured.result(),
            mature,
        )
        self.known_to = max(current.now, self.known_to or current.now)
        self._round, self._ended = None, time.monotonic()
        self.book.sweep(self.known_to)
        return told

    def dump(self) -> dict[str, Any]:
        """Everything as plain values, as if the round under way had not begun."""
        asked = self._round.asked if self._round is not None else ()
        return {"known_to": self.known_to, "book": self.book.dump(asked)}

    def load(self, value: dict[str, Any]) -> None:
        """What `dump` gave."""
        self.known_to = value["known_to"]
        self.book.load(value["book"])

"""The inbox as a source beside Kafka, or in place of it: two more partitions, one of payments and
one of labels, which slot 0 owns.

A thread reads ahead of the flow, a bounded number of messages, as soon as the database tells of
new ones.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from dataflows.live import decoding
from dataflows.live.ending import ended
from dataflows.live.landing import Landing, show
from dataflows.live.lines import MOST_FETCHED, Line, first
from dataflows.live.pieces import Kind, Piece, Report
from dataflows.store import History
from tidegate.link import Link
from tidegate.store import inbox
from tidegate.store.connection import Conn
from tidegate.tracing import HEADER

TOPICS = {kind: inbox.topic(kind.value) for kind in Kind}
PARTITION = 0

_AT_ONCE = 4096  # messages read from the database at a time
_PATIENCE = 0.25  # seconds to the next look where the database tells of nothing
_CROWDED = 0.002  # the same where the flow does not take more just now
_ROOM = 131_072  # messages of a kind that may be decoded and not have landed in the store
_LAG_EVERY = 2.0  # seconds between two looks at the lag, where the flow asks for none
_MOST_LAG = 100_000  # messages that are counted for it


@dataclass
class _Half:
    """One kind's messages: what the thread has read, and the line that they go on by.

    next: the number that the thread reads from next; fetched: what it read and nobody took;
    ended: whether there was nothing more.
    """

    line: Line
    next: int
    fetched: deque[Message] = field(default_factory=deque)
    ended: bool = False

    @property
    def full(self) -> bool:
        """Whether the thread has read far enough ahead."""
        return len(self.fetched) + len(self.line.fetched) >= MOST_FETCHED


class InboxReader:
    """Reads the inbox once it is opened. Call all but `close` from one thread.

    slot: the number that it reports itself by, beyond all of Kafka's.
    """

    def __init__(self, url: str, history: History, slot: int) -> None:
        self._landing = Landing(history)
        self._slot = slot
        self._closed = threading.Event()
        self._link = Link(url, "tidegate-inbox", self._closed, listen=inbox.LISTEN)
        self._lock = threading.Lock()
        self._halves: dict[Kind, _Half] = {}
        self._noted: dict[inbox.Kind, int] = {}  # to be noted as read
        self._said: dict[inbox.Kind, int] = {}  # what was noted last
        self._reported = False
        self._heard = False  # how much has landed, and has not shown it since
        self._looked = 0.0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tidegate-inbox", daemon=True)

    def open(self, offsets: Mapping[str, Mapping[int, int]] | None) -> None:
        """Begins where the snapshot of slot 0 left it, at the beginning where it knows nothing."""
        for kind, topic in TOPICS.items():
            begin = 0 if offsets is None else offsets.get(topic, {}).get(PARTITION, 0)
            self._halves[kind] = _Half(Line(kind, topic, PARTITION, begin, _ROOM), begin)
        self._thread.start()

    def take(self) -> list[Piece | Report]:
        """What there is. Raises what the thread cannot go on from."""
        if self._failure is not None:
            raise self._failure
        taken: list[Piece | Report] = []
        if not self._reported:
            self._reported = True
            places = tuple((kind, topic, PARTITION) for kind, topic in TOPICS.items())
            taken.append(Report(self._slot, places))
        lines = [half.line for half in self._halves.values()]
        for half in self._halves.values():
            self._adopt(half)
        self._heard |= self._landing.hear(lines)
        found = [(line, read) for line in lines if (read := line.read(-1)) is not None]
        for (line, _), piece in zip(found, decoding.pieces([r for _, r in found]), strict=True):
            line.ready.append(piece)
        for line in lines:
            taken.extend(line.take())
        return taken

    def offsets(self) -> dict[str, dict[int, int]]:
        """Where each kind goes on, for a snapshot."""
        return {half.line.topic: {PARTITION: half.line.handed} for half in self._halves.values()}

    def commit(self, offsets: Mapping[str, Mapping[int, int]]) -> None:
        """Lets it be noted that everything below these offsets is never asked for again."""
        for kind, topic in TOPICS.items():
            if topic in offsets:
                self._noted[kind.value] = offsets[topic][PARTITION]

    def away(self) -> str | None:
        """For how long the database has not answered, in words; None when it does."""
        return self._link.away()

    def close(self, *, clean: bool) -> None:
        """Ends. clean: everything handed on is in a snapshot."""
        if clean and self._halves:
            self.commit(self.offsets())
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._link.close()

    def _adopt(self, half: _Half) -> None:
        with self._lock:
            fetched, ended = list(half.fetched), half.ended
            half.fetched.clear()
            half.ended = False
            position = half.next
        for message in fetched:
            half.line.arrived(message)
        if ended:
            half.line.ended(position)

    def _run(self) -> None:
        try:
            while not self._closed.is_set():
                more = self._link.work(self._look)
                self._link.wait(_CROWDED if more else _PATIENCE)
            self._link.work(self._note)
        except BaseException as error:
            if not self._closed.is_set():
                self._failure = error

    def _look(self, conn: Conn) -> bool:
        """Reads what is new of both kinds; says whether there is more than was read."""
        self._note(conn)
        more = False
        for kind, half in self._halves.items():
            if half.full:
                more = True
                continue
            read = inbox.read(conn, kind.value, half.next, _AT_ONCE)
            ended = len(read) < _AT_ONCE
            more |= not ended
            with self._lock:
                half.fetched.extend(_message(half.line.topic, waiting) for waiting in read)
                half.ended = ended
                if read:
                    half.next = read[-1].number + 1
        self._show_lag(conn)
        return more

    def _note(self, conn: Conn) -> None:
        noted = dict(self._noted)
        if noted != self._said:
            inbox.note_read(conn, noted)
            self._said = noted

    def _show_lag(self, conn: Conn) -> None:
        if not self._heard and time.monotonic() - self._looked < _LAG_EVERY:
            return
        self._heard, self._looked = False, time.monotonic()
        for kind, half in self._halves.items():
            lag = inbox.count(conn, kind.value, half.line.undecided, _MOST_LAG)
            show(half.line, lag, half.line.oldest or first(half.fetched))


def _message(topic: str, waiting: inbox.Waiting) -> Message:
    # Of Kafka's own kind, so that all that follows is the same.
    return Message(
        topic=topic,
        partition=PARTITION,
        offset=waiting.number,
        value=waiting.message.encode(),
        timestamp=(TIMESTAMP_CREATE_TIME, waiting.at // 1000),
        headers=None if waiting.trace is None else [(HEADER, waiting.trace.encode())],
    )


def reading_inbox(url: str, history: History, slot: int) -> AbstractContextManager[InboxReader]:
    """A reader of the inbox, closed at the end; only if the flow ended well is what it handed on
    noted as read."""
    return ended(InboxReader(url, history, slot))

"""Latency at a given rate: payments are sent when they are due, whatever became of those before.

Time counts from the moment a payment was due, so a stall is felt by all that come during it and
not by one alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import psycopg
from confluent_kafka import Producer

from bench.live import PATIENCE, at_the_end, id_of, producer
from dataflows.supervisor import RunFailed
from tests.kafka.broker import Broker
from tidegate.kafka import incoming
from tidegate.schema import SECOND, Batch, texts
from tidegate.settings import Topics

Seconds = npt.NDArray[np.float64]

_POLL = 0.002  # seconds between two looks into the database
_MOST_ASKED = 500  # payments that one look asks for

FIND = "SELECT transaction_id FROM score WHERE transaction_id = ANY(%s)"


@dataclass(frozen=True)
class Latencies:
    """Seconds of each payment: until its decision could be read from the topic, and its row from
    the database."""

    topic: Seconds
    table: Seconds | None
    cpu: float  # CPU seconds of the worker a second


class _Watch:
    """Notes when each payment was first seen, from a thread of its own."""

    what: str  # that it looks for

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def sent(self, name: str) -> None:
        """A payment was sent."""

    def look(self) -> None:
        """Looks once, for at most a moment."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends what `look` uses."""

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.look()
        except BaseException as error:
            self.failure = error
        self.close()


class TopicWatch(_Watch):
    """Of decisions in their topic."""

    what = "decisions in the topic:"

    def __init__(self, broker: Broker, topic: str) -> None:
        super().__init__()
        self._consumer = at_the_end(broker, topic)

    def look(self) -> None:
        message = self._consumer.poll(0.1)
        if message is not None and (name := id_of(message)) is not None:
            self.seen.setdefault(name, time.monotonic())

    def close(self) -> None:
        self._consumer.close()


class TableWatch(_Watch):
    """Of rows in the database: asks for those that were sent and not seen yet."""

    what = "rows in the database:"

    def __init__(self, url: str) -> None:
        super().__init__()
        self._conn = psycopg.connect(url, autocommit=True)
        self._waiting: dict[str, None] = {}

    def sent(self, name: str) -> None:
        self._waiting[name] = None

    def look(self) -> None:
        asked = list(self._waiting)[:_MOST_ASKED]
        if asked:
            found = self._conn.execute(FIND, [asked]).fetchall()
            now = time.monotonic()
            for (name,) in found:
                self.seen[name] = now
                del self._waiting[name]
        time.sleep(_POLL)

    def close(self) -> None:
        self._conn.close()


def measure(
    broker: Broker,
    topics: Topics,
    url: str | None,
    payments: Batch,
    rate: float,
    warm_up: float,
    cpu: Callable[[], float],
) -> Latencies:
    """Sends the payments, so many a second, as if each were made when it is due; those of the
    first warm_up seconds are not counted.

    url: of the database to look into, if any. cpu: CPU seconds of the worker so far; it may raise
    when there is none any more. Raises RunFailed if a payment is never decided.
    """
    with ExitStack() as opened:
        watches: list[_Watch] = [TopicWatch(broker, topics.decisions)]
        if url is not None:
            watches.append(TableWatch(url))
        for watch in watches:
            opened.enter_context(watch)
        sender = producer(broker)
        _probe(sender, topics, watches, payments, cpu)
        count = len(payments)
        due = time.monotonic() + 1.0 + np.arange(count) / rate
        names, keys, values = _messages(payments, due + (time.time() - time.monotonic()))
        first = int(warm_up * rate)
        cpus: list[float] = []
        for number, (name, key, value, at) in enumerate(
            zip(names, keys, values, due.tolist(), strict=True)
        ):
            if (early := at - time.monotonic()) > 0:
                time.sleep(early)
            if number in (first, count - 1):
                cpus.append(cpu())
            _send(sender, topics, watches, name, key, value)
        _wait(watches, count + 1, cpu)
        spent = (cpus[-1] - cpus[0]) / (due[-1] - due[first])
        since = [
            np.array([watch.seen[name] for name in names[first:]]) - due[first:]
            for watch in watches
        ]
    return Latencies(since[0], since[1] if url is not None else None, spent)


def _probe(
    sender: Producer,
    topics: Topics,
    watches: list[_Watch],
    payments: Batch,
    cpu: Callable[[], float],
) -> None:
    """Returns when one payment went all the way: whoever decides has started."""
    now = np.array([time.time()])
    (name,), (key,), (value,) = _messages(payments.take(np.array([0])), now, "probe")
    _send(sender, topics, watches, name, key, value)
    _wait(watches, 1, cpu)


def _messages(
    payments: Batch, at: Seconds, prefix: str = "bench"
) -> tuple[list[str], list[bytes], list[bytes]]:
    names = [f"{prefix}-{number:08d}" for number in range(len(payments))]
    made = replace(payments, transaction_id=texts(names), event_time=(at * SECOND).astype(np.int64))
    keys = [card.encode() for card in made.card_token]
    return names, keys, incoming.transactions(made)


def _send(
    sender: Producer, topics: Topics, watches: list[_Watch], name: str, key: bytes, value: bytes
) -> None:
    sender.produce(topics.transactions, value, key)
    sender.poll(0)
    for watch in watches:
        watch.sent(name)


def _wait(watches: list[_Watch], count: int, cpu: Callable[[], float]) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(len(watch.seen) < count for watch in watches):
        for watch in watches:
            if watch.failure is not None:
                raise watch.failure
        if time.monotonic() > deadline:
            seen = " and ".join(f"{watch.what} {len(watch.seen)}" for watch in watches)
            raise RunFailed(f"of {count} payments there were {seen} after {PATIENCE:g} s")
        cpu()  # raises when nobody is there to decide
        time.sleep(0.05)

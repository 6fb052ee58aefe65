"""Machines that join and leave while payments come: how long no decision comes.

Why: a cluster is fixed at its start, so a change of its size is an end with a snapshot and a new
start. What counts is the longest time without any decision around each change, and that nothing is
lost or doubled. The machines are commands on this one; network namespaces are the faults' tests'.

It needs Java and the jars that `make setup-tests` fetches.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import psycopg

from bench import database
from bench.backlog import COUNT, paid
from bench.given import Given
from bench.kafka import Missing
from bench.live import PATIENCE, TIDEGATE, Service, end, producer, service, topics
from bench.open_loop import TopicWatch
from bench.report import Report, figure, say
from dataflows.supervisor import RunFailed
from tests.kafka.broker import Broker, free_ports, lacking
from tidegate.kafka import incoming
from tidegate.schema import SECOND, Batch, texts

RATE = 2_000  # payments a second
CARDS = 5_000
CHUNK = 0.05  # seconds of payments that are sent together
CALM = 5.0  # seconds of decisions after a change, before the next one
MOST = 30.0  # seconds that a change may take
SIZES = (4, 2)  # workers, in turn

WORKING = "SELECT cardinality(sessions) + 1 FROM crew_order WHERE stop = 0"


class _Sender:
    """Sends payments at the rate from a thread, until it is told to stop."""

    def __init__(self, broker: Broker, topic: str, payments: Batch) -> None:
        self._producer = producer(broker)
        self._topic = topic
        self._payments = payments
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0

    @contextmanager
    def sending(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join()
            self._producer.flush(PATIENCE)

    def _run(self) -> None:
        begin, size = time.monotonic(), round(CHUNK * RATE)
        while not self._stop.is_set() and self.sent + size <= len(self._payments):
            rows = np.arange(self.sent, self.sent + size)
            batch = replace(
                self._payments.take(rows),
                transaction_id=texts([f"rescale-{row:08d}" for row in rows.tolist()]),
                event_time=np.full(size, int(time.time() * SECOND)),
            )
            messages = incoming.transactions(batch)
            for card, message in zip(batch.card_token, messages, strict=True):
                self._producer.produce(self._topic, message, card.encode())
            self._producer.poll(0)
            self.sent += size
            time.sleep(max(0.0, begin + self.sent / RATE - time.monotonic()))


def bench(given: Given) -> Report:
    """Seconds without a decision around each change of the number of workers."""
    if what := lacking():
        raise Missing(what)
    changes = 2 if given.quick else 10
    rows = round((changes + 1) * (MOST + CALM) * RATE)
    say(f"  simulating {rows:,} payments")
    payments = paid(rows, CARDS)
    pauses: list[float] = []
    with Broker() as broker, database.server() as server, topics(broker) as names:
        ports = free_ports(max(SIZES))
        lead = ("supervise", "--address", f"127.0.0.1:{ports[0]}", "--name", "leader")
        sender = _Sender(broker, names.transactions, payments)
        with (
            service(server, broker, names, lead) as leader,
            TopicWatch(broker, names.decisions) as watch,
            _members(leader, ports) as members,
        ):
            with sender.sending():
                leader.wait(lambda: len(watch.seen) > 0, "first decision")
                time.sleep(CALM)
                for number in range(changes):
                    size = SIZES[number % len(SIZES)]
                    begin = time.monotonic()
                    members.become(size - 1)
                    _decided_by(leader, size, watch)
                    time.sleep(CALM)
                    pauses.append(_longest_gap(watch, begin))
                    say(f"  {size} workers: {pauses[-1]:.1f} s without a decision")
            leader.wait(lambda: len(watch.seen) >= sender.sent, f"{sender.sent} decisions")
            with psycopg.connect(leader.database) as conn:
                (stored,) = conn.execute(COUNT).fetchone() or (0,)
    if not stored == len(watch.seen) == sender.sent:
        raise RunFailed(f"{stored} rows, {len(watch.seen)} decisions, {sender.sent} payments")
    figures = [
        figure("pause, p50", [float(np.median(pauses))], "s"),
        figure("pause, worst", [max(pauses)], "s"),
        figure("payments lost or doubled", [float(abs(stored - sender.sent))], "payments"),
    ]
    sizes = " and ".join(map(str, SIZES))
    notes = [
        f"{RATE:,} payments a second of {CARDS:,} cards; {changes} changes, to {sizes} workers in "
        "turn; a pause is the longest time between two decisions in the topic around a change",
        "sender, broker, database, all workers and whoever watches share this machine",
    ]
    return Report("rescale", sender.sent, 1, figures, notes)


class _Members:
    """Those that have joined."""

    def __init__(self, leader: Service, ports: list[int]) -> None:
        self._leader = leader
        self._free = ports[1:]
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def become(self, number: int) -> None:
        """So many: others join, or some are told to leave."""
        while len(self._running) < number:
            port = self._free.pop()
            command = ["supervise", "--join", "--address", f"127.0.0.1:{port}"]
            with self._leader.log.open("ab") as said:
                self._running[port] = subprocess.Popen(
                    [TIDEGATE, *command, "--name", f"member-{port}"],
                    env=self._leader.env,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                )
        leaving = list(self._running.items())[number:]
        for _, process in leaving:
            process.send_signal(signal.SIGTERM)
        for port, process in leaving:
            process.wait(PATIENCE)
            del self._running[port]
            self._free.append(port)

    def close(self) -> None:
        for process in self._running.values():
            end(process)


@contextmanager
def _members(leader: Service, ports: list[int]) -> Iterator[_Members]:
    with ExitStack() as opened:
        members = _Members(leader, ports)
        opened.callback(members.close)
        yield members


def _decided_by(leader: Service, workers: int, watch: TopicWatch) -> None:
    """Waits until so many work and decisions come again."""
    with psycopg.connect(leader.database, autocommit=True) as conn:
        leader.wait(
            lambda: conn.execute(WORKING).fetchone() == (workers,), f"cluster of {workers} workers"
        )
    seen = len(watch.seen)
    leader.wait(lambda: len(watch.seen) > seen + RATE, "more decisions")


def _longest_gap(watch: TopicWatch, since: float) -> float:
    at = np.array(list(watch.seen.values()))
    return float(np.diff(at[at >= since]).max())

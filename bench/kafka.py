"""Payments from Kafka, decided live: how soon at a steady rate, and how fast after a standstill.

Why: a payment waits for its decision, so what counts is the time from the moment it was due to the
moment its decision can be read, by the slowest in a hundred too. The peer is a bare loop that reads
a message and sends another one: what Kafka and its client take, with nothing decided, kept or
stored. After a standstill there is a backlog; one of minutes is worked off without waiting for
anything, one of weeks in hours of event time, with what became known learned before each.

It needs Java and the jars that `make setup-tests` fetches.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from bench import database
from bench.backlog import Worked, fresh, old, paid, work_off
from bench.given import Given
from bench.live import cpu_seconds, end, service, topics
from bench.open_loop import Latencies, Seconds, measure
from bench.report import Figure, Report, figure, say
from bench.rounds import in_turn, times
from dataflows.supervisor import RunFailed
from tests.kafka.broker import Broker, lacking
from tidegate.kafka import outgoing
from tidegate.kafka.outgoing import Stored
from tidegate.schema import SECOND, Batch

_ROUNDS = 3
_RATE = 500.0  # payments a second
_CARDS = 5_000
_WARM_UP = 5.0  # seconds at that rate before those that count
_OURS, _LOOP = "tidegate run", "bare loop"
_FRESH, _OLD = "backlog of minutes", "backlog of weeks"


class Missing(RuntimeError):
    """Something that the benchmark needs is not installed; the message says what."""


def bench(given: Given) -> Report:
    """Milliseconds from due to readable, and payments a second out of a backlog."""
    if what := lacking():
        raise Missing(what)
    rounds = given.rounds(_ROUNDS)
    seconds = _WARM_UP + (5.0 if given.quick else 30.0)
    rows, days = given.size(200_000, 20_000), (10 if given.quick else 45)
    payments = paid(int(seconds * _RATE), _CARDS)
    say(f"  simulating {rows:,} payments twice")
    backlogs = {_FRESH: partial(fresh, rows), _OLD: partial(old, rows, days)}
    with Broker() as broker, database.server() as server:
        live: dict[str, Callable[[], Latencies]] = {
            _OURS: partial(_ours, server, broker, payments),
            _LOOP: partial(bare_loop, broker, payments, _RATE, _WARM_UP),
        }
        felt = in_turn(live, rounds)

        def worked(name: str) -> Worked:
            return work_off(server, broker, *backlogs[name]())  # fresh ones age while others run

        done = in_turn({name: partial(worked, name) for name in backlogs}, rounds)
    figures = [*_latency_figures(felt), *_backlog_figures(done)]
    notes = [
        f"{_RATE:.0f} payments a second of {_CARDS:,} cards for {seconds - _WARM_UP:.0f} s after "
        f"{_WARM_UP:.0f} s that are not counted, timed from when each was due; snapshots as by "
        "default",
        f"a backlog is {rows:,} payments, counted from the first decision to the last; of weeks: "
        f"{days} days with their labels, in hours of event time",
        "sender, broker, database, worker and whoever watches share this machine",
    ]
    return Report("kafka", rows, rounds, figures, notes)


def _ours(server: str, broker: Broker, payments: Batch) -> Latencies:
    with topics(broker) as names, service(server, broker, names) as run:
        try:
            return measure(broker, names, run.database, payments, _RATE, _WARM_UP, run.cpu)
        except RunFailed as error:
            raise RunFailed(f"{error}: {run.said()}") from error


def bare_loop(broker: Broker, payments: Batch, rate: float, warm_up: float) -> Latencies:
    """The peer, measured as we are."""
    with topics(broker) as names, _relay(broker, names.transactions, names.decisions) as process:
        cpu = partial(cpu_seconds, process.pid)
        return measure(broker, names, None, payments, rate, warm_up, cpu)


@contextmanager
def _relay(broker: Broker, source: str, target: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "bench.relay", broker.address, source, target]
    process = subprocess.Popen([*command, str(_decision_bytes())], stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        end(process)
    if process.returncode != 0:
        raise RunFailed(f"the bare loop ended with exit code {process.returncode}")


def _decision_bytes() -> int:
    """Of a payment's decision that approves it, as most do."""
    now = 1_767_225_600 * SECOND + 123_456
    name = "bench-00000000"
    row = Stored(name, now, 0.0123456789012345, "approve", [], "0" * 64, now, 0, "", "", "", None)
    return len(outgoing.decision(row))


def _latency_figures(felt: dict[str, list[Latencies]]) -> list[Figure]:
    ours, loop = felt[_OURS], felt[_LOOP]
    found: list[Figure] = []
    for percent in (50, 99):
        bare = [_ms(one.topic, percent) for one in loop]
        topic = [_ms(one.topic, percent) for one in ours]
        table = [_ms(one.table, percent) for one in ours if one.table is not None]
        peer = f"{_LOOP}, p{percent}"
        found += [
            figure(f"decision in its topic, p{percent}", topic, "ms", times(topic, bare), peer),
            figure(f"row in the database, p{percent}", table, "ms", times(table, bare), peer),
            figure(peer, bare, "ms"),
        ]
    cpu, bare_cpu = ([100 * one.cpu for one in runs] for runs in (ours, loop))
    peer = f"{_LOOP}'s process"
    return [
        *found,
        figure("worker at that rate", cpu, "% of a core", times(cpu, bare_cpu), peer),
        figure(peer, bare_cpu, "% of a core"),
    ]


def _backlog_figures(done: dict[str, list[Worked]]) -> list[Figure]:
    new, aged = done[_FRESH], done[_OLD]
    rates = [one.rate for one in new], [one.rate for one in aged]
    found = [
        figure(_FRESH, rates[0], "payments a second"),
        figure(_OLD, rates[1], "payments a second", times(rates[1], rates[0]), _FRESH),
    ]
    for name, runs in done.items():
        found += [
            figure(f"{name}, with start-up", [one.whole for one in runs], "payments a second"),
            figure(f"{name}: worker", [one.cpu for one in runs], "µs CPU a payment"),
        ]
    return found


def _ms(seconds: Seconds, percent: float) -> float:
    return float(1000 * np.percentile(seconds, percent))

"""A backlog in the topics, made first and then worked off by a run that starts on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import psycopg

from bench.history import SEED
from bench.live import Ends, service, topics
from dataflows.supervisor import RunFailed
from tests.kafka.broker import Broker
from tidegate import simulate
from tidegate.kafka.feeding import feeding
from tidegate.schema import DAY, HOUR, MINUTE, SECOND, Batch, Labels, nothing
from tidegate.settings import Kafka, Topics
from tidegate.simulation.world import PAYMENTS_A_DAY

FRESH_WITHIN = 3 * MINUTE  # microseconds: what is younger than five is fresh to a run
_CARDS_A_TERMINAL = 7

COUNT = "SELECT count(*) FROM score"


@dataclass(frozen=True)
class Worked:
    """A backlog that is done. rate: payments a second from the first decision to the last in topic
    and database; whole: the same from the start of the command; cpu: microseconds of the worker's
    CPU time a payment."""

    rate: float
    whole: float
    cpu: float


def work_off(server: str, broker: Broker, payments: Batch, labels: Labels) -> Worked:
    """Sends everything, starts a run, and waits until every payment is decided."""

    def send(names: Topics) -> None:
        with feeding(Kafka((broker.address,), topics=names)) as feeder:
            feeder.send(payments, labels)

    return work_off_sent(server, broker, len(payments), send)


def work_off_sent(
    server: str,
    broker: Broker,
    rows: int,
    send: Callable[[Topics], None],
    settings: Mapping[str, str] | None = None,
) -> Worked:
    """The same of so many payments that `send` sends to the topics, and with other settings."""
    with topics(broker) as names:
        send(names)
        ends = Ends(broker, names.decisions)
        began = time.monotonic()
        with service(server, broker, names, settings=settings) as run:
            decided = 0

            def progress(least: int) -> bool:
                nonlocal decided
                decided = ends.messages()
                return decided >= least

            run.wait(partial(progress, 1), "first decision")
            # What came before the first look is left out, of the rows and of the time.
            before, first, cpu = decided, time.monotonic(), run.cpu()
            while decided < rows:  # patient for as long as it moves
                run.wait(partial(progress, decided + 1), f"more than {decided} of {rows} decisions")
            last, spent = time.monotonic(), run.cpu() - cpu
            with psycopg.connect(run.database) as conn:
                (stored,) = conn.execute(COUNT).fetchone() or (0,)
        ends.close()
    if not stored == decided == rows:
        raise RunFailed(f"{stored} rows and {decided} messages for {rows} payments")
    counted = rows - before
    return Worked(counted / (last - first), rows / (last - began), 1e6 * spent / counted)


def fresh(rows: int) -> tuple[Batch, Labels]:
    """Payments of the last minutes, of so many cards that each pays a few times; no labels."""
    batch = paid(rows, max(200, rows // 4))
    now = int(time.time() * SECOND)
    at = now - FRESH_WITHIN + np.arange(rows) * FRESH_WITHIN // rows
    none = np.zeros(0, np.int64)
    labels = Labels(nothing(0), none, none.astype(np.bool_), nothing(0), nothing(0))
    return replace(batch, event_time=at), labels


def old(rows: int, days: int) -> tuple[Batch, Labels]:
    """Payments of so many days, the last one some hours ago, with the labels known by then."""
    customers = int(1.1 * rows / (days * PAYMENTS_A_DAY)) + 10
    batch, labels = simulate.simulate(customers, max(40, customers // 3), days, SEED)
    batch = batch.take(np.arange(rows))
    last = int(batch.event_time[-1])
    of_them = set(batch.transaction_id.tolist())
    known = np.array([name in of_them for name in labels.transaction_id], np.bool_)
    labels = labels.take(known & (labels.labelled_at < last // HOUR * HOUR))
    # By whole weeks: weekdays are part of it.
    moved = (int(time.time() * SECOND) - 2 * HOUR - last) // (7 * DAY) * 7 * DAY
    return (
        replace(batch, event_time=batch.event_time + moved),
        replace(labels, labelled_at=labels.labelled_at + moved),
    )


def paid(rows: int, cards: int) -> Batch:
    """So many simulated payments of so many cards, whatever days they take."""
    days = int(1.1 * rows / (cards * PAYMENTS_A_DAY)) + 2
    batch, _ = simulate.simulate(cards, max(40, cards // _CARDS_A_TERMINAL), days, SEED)
    return batch.take(np.arange(rows))

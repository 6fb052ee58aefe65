"""What it costs to trace, in the worker that works off a backlog from Kafka.

Why: tracing is off by default and must be cheap when it is on, whatever the payment systems ask
for: each of their messages may say that it is to be traced. The peer is the same run without.

It needs Java and the jars that `make setup-tests` fetches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench import database
from bench.backlog import Worked, fresh, work_off_sent
from bench.given import Given
from bench.kafka import Missing
from bench.live import producer
from bench.report import Figure, Report, figure, say
from bench.rounds import in_turn, times
from tests.api.receiver import receiving
from tests.kafka.broker import Broker, lacking
from tidegate.kafka import incoming
from tidegate.schema import Batch
from tidegate.settings import Topics
from tidegate.tracing import HEADER

_ROUNDS = 5
_OFF = "off"
_NONE = "on, no payment to be traced"
_ALL = "on, every payment to be traced"
_FLAGS = {_OFF: None, _NONE: "00", _ALL: "01"}


def bench(given: Given) -> Report:
    """Microseconds of the worker's CPU time a payment."""
    if what := lacking():
        raise Missing(what)
    rows, rounds = given.size(100_000, 20_000), given.rounds(_ROUNDS)
    say(f"  {rows:,} payments, {rounds} rounds of three")
    with Broker() as broker, database.server() as server, receiving() as collector:
        settings = {
            "TIDEGATE_TRACES_URL": f"http://127.0.0.1:{collector.port}/v1/traces",
            "TIDEGATE_TRACES_SHARE": "0.01",
        }

        def worked(name: str) -> Worked:
            payments, _ = fresh(rows)
            send = partial(_send, broker, payments, _FLAGS[name])
            return work_off_sent(server, broker, rows, send, {} if name == _OFF else settings)

        contenders: dict[str, Callable[[], Worked]] = {n: partial(worked, n) for n in _FLAGS}
        done = in_turn(contenders, rounds)
        told = len(collector.received)
    off = [one.cpu for one in done[_OFF]]
    figures: list[Figure] = [figure(_OFF, off, "µs CPU")]
    for name in (_NONE, _ALL):
        ours = [one.cpu for one in done[name]]
        figures.append(figure(name, ours, "µs CPU", times(ours, off), _OFF))
    notes = [
        f"a backlog of {rows:,} payments of minutes, its messages without a header, or with one",
        f"the collector was sent {told:,} messages",
    ]
    return Report("traces", rows, rounds, figures, notes)


def _send(broker: Broker, payments: Batch, flags: str | None, names: Topics) -> None:
    to = producer(broker)
    messages = incoming.transactions(payments)
    for number, (card, message) in enumerate(zip(payments.card_token, messages, strict=True), 1):
        headers: list[tuple[str, str | bytes | None]] = []
        if flags is not None:
            headers.append((HEADER, f"00-{number:032x}-{number:016x}-{flags}"))
        to.produce(names.transactions, message, card.encode(), headers=headers)
        if number % 1_000 == 0:
            to.poll(0)
    to.flush()

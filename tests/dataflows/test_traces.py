"""A payment's trace from its sender over the API and the flow to whoever reads its decision, by the
real commands."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer
from opentelemetry.trace import SpanContext, TraceFlags

from dataflows.messages import Envelope, Outcome
from dataflows.traces import MOST_A_SECOND, Batch, Traces
from tests.collector import Collector, Recorded, collecting
from tests.dataflows.streams import START, decided, payments
from tests.faults.cluster import TIDEGATE
from tests.kafka.broker import free_ports
from tests.kafka.fixtures import make_topics
from tests.waiting import wait_until
from tidegate import tracing
from tidegate.schema import texts
from tidegate.settings import Topics

PATIENCE = 60.0  # seconds for a command to start
TRACE, SENDER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACED = f"00-{TRACE}-{SENDER}-01"
NOT_TRACED = f"00-{'5' * 32}-{SENDER}-00"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


class Place:
    """A flow and an API over one database, and over Kafka where topics are given."""

    def __init__(self, directory: Path, env: dict[str, str], topics: Topics | None) -> None:
        self.topics = topics
        self.said = directory / "said"
        (port,) = free_ports(1)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        named = {} if topics is None else asdict(topics)
        self._env = {
            **{name: value for name, value in os.environ.items() if "TIDEGATE_" not in name},
            "TIDEGATE_DATA_DIR": str(directory / "data"),
            "TIDEGATE_AUTH": "off",
            "TIDEGATE_LOG_LEVEL": "debug",
            "TIDEGATE_REVIEW_THRESHOLD": "0.001",  # so that the first payment raises an alert
            **{f"TIDEGATE_TOPIC_{name.upper()}": topic for name, topic in named.items()},
            **env,
        }
        commands = (["run"], ["api", "--port", str(port)])
        self._processes = [self._start(command) for command in commands]

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self.said.open("ab") as said:
            return subprocess.Popen(
                [str(TIDEGATE), *command],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def pay(self, id: str, **headers: str) -> None:
        """Sends a payment until it is decided."""
        payment = {
            "transaction_id": id,
            "event_time": datetime.now(UTC).isoformat(),
            "amount_minor": 99_900,
            "currency": "EUR",
            "card_token": "card-7",
            "terminal_id": "terminal-3",
        }

        def decided() -> bool:
            try:
                answer = self.client.post(
                    "/v1/transactions", json=payment, headers={"Prefer": "wait=5", **headers}
                )
            except httpx.TransportError:
                return False
            assert answer.status_code in (200, 202, 503), answer.text
            return answer.status_code == 200

        wait_until(decided, PATIENCE, self.said.read_text)

    def lines(self) -> list[dict[str, Any]]:
        """What was logged."""
        said = self.said.read_text().splitlines()
        return [json.loads(line) for line in said if line.startswith("{")]

    def stop(self) -> None:
        self.client.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            assert process.wait(PATIENCE) == 0, self.said.read_text()


@pytest.fixture(params=["inbox", "kafka"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, collector: Collector
) -> Iterator[Place]:
    env = {
        "TIDEGATE_DATABASE_URL": database,
        "TIDEGATE_TRACES_URL": collector.url,
        "TIDEGATE_TRACES_SHARE": "0",
    }
    topics = None
    if request.param == "kafka":
        broker = request.getfixturevalue("any_broker")
        topics = make_topics(broker, 2)
        env |= {"TIDEGATE_KAFKA_BROKERS": broker.address}
    running = Place(tmp_path, env, topics)
    try:
        yield running
    finally:
        running.stop()


def one(spans: Sequence[Recorded]) -> Recorded:
    assert len(spans) == 1, spans
    return spans[0]


def test_a_payment_is_traced_from_its_sender_to_its_decision(
    place: Place, collector: Collector
) -> None:
    place.pay("before")  # once this is decided, all has started
    place.pay("told not to", traceparent=NOT_TRACED)
    began = time.time_ns()
    place.pay("traced", traceparent=TRACED)
    wait_until(lambda: bool(collector.named("wait for decisions")), told=place.said.read_text)
    wait_until(lambda: bool(collector.named("score batch")), told=place.said.read_text)
    wait_until(lambda: bool(collector.named("POST /v1/transactions")), told=place.said.read_text)

    request = one(collector.named("POST /v1/transactions"))
    taken = one(collector.named("take payments"))
    waited = one(collector.named("wait for decisions"))
    scored = one(collector.named("score payment"))
    assert (request.trace, request.parent) == (TRACE, SENDER)
    assert {span.trace for span in (taken, waited, scored)} == {TRACE}
    assert {span.parent for span in (taken, waited)} == {request.id}
    assert scored.parent == taken.id
    assert (request.service, scored.service) == ("tidegate-api", "tidegate-flow")
    assert request.attributes["http.route"] == "/v1/transactions"
    assert request.attributes["http.response.status_code"] == 200
    assert scored.attributes["tidegate.transaction_id"] == "traced"
    assert scored.attributes["tidegate.decision"] == "review"
    assert scored.events == ["scored"]
    assert began <= request.start <= scored.start <= scored.end
    assert scored.end - scored.start < 20_000_000_000

    batch = one(collector.named("score batch"))
    assert batch.trace != TRACE
    assert (batch.links, scored.links) == ([scored.parent], [batch.id])
    assert batch.attributes == {
        "tidegate.batch": scored.attributes["tidegate.batch"],
        "tidegate.payments": 1,
    }
    stages = ["score", "store"] + (["publish"] if place.topics else [])
    parts = [span for span in collector.spans() if span.parent == batch.id]
    assert [span.name for span in sorted(parts, key=lambda span: span.start)] == stages

    # Nothing of those that were not to be traced, and nothing that names a card.
    assert {span.trace for span in collector.spans()} == {TRACE, batch.trace}
    assert not any(b"card-7" in span.raw for span in collector.spans())

    if place.topics is not None:
        sent = contexts(place, place.topics)
        assert sent["traced"] == tracing.read(f"00-{TRACE}-{scored.id}-01")
        assert f"{sent['told not to'].trace_id:x}" == "5" * 32
        assert not sent["told not to"].trace_flags.sampled
        assert not sent["before"].trace_flags.sampled


def outcome_of(headers: Sequence[object]) -> Outcome:
    """Decisions of payments that came with these headers."""
    rows = len(headers)
    envelope = Envelope(texts([None] * rows), texts(headers))
    return Outcome(
        7, 1.0, decided(payments([f"t-{row}" for row in range(rows)], [START] * rows)), envelope
    )


def test_so_many_payments_a_second_are_traced_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "on", lambda: True)
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    traced = [("traceparent", TRACED.encode())]
    outcome = outcome_of([traced] * (MOST_A_SECOND + 50))
    traces = Traces(1)
    with traces.batch([outcome]) as batch:
        assert batch.headers.keys() == {(0, row) for row in range(MOST_A_SECOND)}
    with traces.batch([outcome]) as batch:
        assert not batch.headers
    clock[0] += 1.0
    with traces.batch([outcome]) as batch:
        assert len(batch.headers) == MOST_A_SECOND


def test_just_the_context_is_replaced_in_an_envelope_that_nobody_else_sees() -> None:
    other = ("tenant", b"7")
    headers = [[other, ("traceparent", TRACED.encode())], None, [other]]
    outcome = outcome_of(headers)
    ours = tracing.write(SpanContext(5, 6, is_remote=False, trace_flags=TraceFlags(1)))
    batch = Batch({(0, 0): ours, (1, 2): "of another outcome"})
    replaced = batch.envelope(0, outcome.envelope)
    assert replaced is not None
    assert replaced.headers.tolist() == [[other, ("traceparent", ours.encode())], None, [other]]
    assert outcome.envelope is not None
    assert outcome.envelope.headers.tolist() == headers
    assert batch.envelope(2, outcome.envelope) is outcome.envelope
    assert batch.envelope(0, None) is None


def contexts(place: Place, topics: Topics) -> dict[str, SpanContext]:
    """The context that each decision, and its alert, was sent with, by payment."""
    found: list[dict[str, SpanContext]] = []
    for topic in (topics.decisions, topics.alerts):
        consumer = Consumer(
            {
                "bootstrap.servers": place._env["TIDEGATE_KAFKA_BROKERS"],
                "group.id": "reader",
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        consumer.subscribe([topic])
        read: dict[str, SpanContext] = {}
        try:
            deadline = time.monotonic() + PATIENCE
            while len(read) < 3 and time.monotonic() < deadline:
                message = consumer.poll(0.2)
                if message is not None and message.error() is None:
                    id = json.loads(message.value() or b"")["transaction_id"]
                    header = dict(message.headers() or [])["traceparent"]
                    assert isinstance(header, bytes)
                    context = tracing.read(header.decode())
                    assert context is not None
                    read[id] = context
        finally:
            consumer.close()
        found.append(read)
    decisions, alerts = found
    assert decisions == alerts
    return decisions


@pytest.mark.parametrize("place", ["inbox"], indirect=True)
def test_the_log_names_payments_batches_and_requests(place: Place, collector: Collector) -> None:
    place.pay("order-7", traceparent=TRACED, **{"X-Request-ID": "request-7"})

    def of(message: str) -> list[dict[str, Any]]:
        return [line for line in place.lines() if line["message"] == message]

    def told() -> bool:
        # Batches without payments are stored, too; with one, it was told of before.
        return any(line["payments"] for line in of("stored")) and bool(of("answered"))

    wait_until(told, told=place.said.read_text)
    taken, decided, answered = of("taken")[-1], of("decided")[-1], of("answered")[-1]
    assert (taken["transaction_id"], taken["request_id"]) == ("order-7", "request-7")
    assert (decided["transaction_id"], decided["decision"]) == ("order-7", "review")
    assert answered["request_id"] == "request-7"
    assert (answered["trace_id"], taken["trace_id"]) == (TRACE, TRACE)
    stored = [line for line in of("stored") if line["batch"] == decided["batch"]]
    assert sum(line["payments"] for line in stored) == 1
    generation, _, number = decided["batch"].partition("-")
    assert generation.isdigit()
    assert number.isdigit()
    assert not any("card-7" in json.dumps(line) for line in place.lines())

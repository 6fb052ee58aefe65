"""What is stored is sent, equal however often, and nothing of it is lost: on a real broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from dataflows import deaf
from dataflows.messages import Envelope, Outcome, Repeated
from dataflows.publisher import Publisher, PublishFailed
from dataflows.writer import DatabaseWriter
from tests.dataflows.streams import START, decided, payments, query
from tests.dataflows.test_database import generation
from tests.kafka.broker import Broker, free_ports
from tests.kafka.fixtures import kafka_settings, make_topics, need_kafka
from tests.tidegate.store.test_dead_letters import made
from tidegate.schema import Decision, Decisions, texts
from tidegate.settings import Kafka, Topics
from tidegate.store.decisions import alert_id

REASON = {"text": "12 payments in an hour", "code": "card_count_1h", "weight": 1.25}


@pytest.fixture
def kafka(broker: Broker, topics: Topics) -> Kafka:
    return kafka_settings(broker, topics)


def scored(
    names: Sequence[str], *, score: float = 0.5, kind: Decision = Decision.REVIEW
) -> Decisions:
    """Payments that were decided so, for a reason."""
    part = decided(payments(names, [START + row for row in range(len(names))]), width=2)
    part.decision[:] = kind
    part.score[:] = score
    reasons: list[list[dict[str, Any]]] = [[] if kind == Decision.APPROVE else [REASON]]
    return replace(part, reasons=texts(reasons * len(names)))


def read(kafka: Kafka, topic: str) -> list[Message]:
    """Everything in a topic, partition by partition."""
    consumer = Consumer({"bootstrap.servers": kafka.brokers[0], "group.id": "test"})
    found: list[Message] = []
    for partition in consumer.list_topics(topic, timeout=30).topics[topic].partitions:
        place = TopicPartition(topic, partition, 0)
        _, high = consumer.get_watermark_offsets(place, timeout=30)
        consumer.assign([place])
        count = 0
        while count < high:
            message = consumer.poll(30)
            assert message is not None
            assert message.error() is None
            found.append(message)
            count += 1
    consumer.close()
    return found


def values(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(message.value() or b"") for message in messages]


def envelope(keys: Sequence[bytes | None], headers: Sequence[Any]) -> Envelope:
    return Envelope(texts(keys), texts(headers))


def write(writer: DatabaseWriter, *outcomes: Outcome) -> None:
    writer.begin("p0", None)
    writer.write("p0", list(outcomes))
    writer.settle("p0")


def test_decisions_go_back_in_the_envelopes_of_their_payments(kafka: Kafka, database: str) -> None:
    sent = envelope([b"card", None], [[("trace", b"\x01")], None])
    with (
        closing(Publisher(kafka)) as publisher,
        closing(DatabaseWriter(database, generation(database), publisher=publisher)) as writer,
    ):
        write(writer, Outcome(0, 0.0, scored(["a", "b"]), sent))
        # Acknowledged when `settle` has returned, so all is there.
        decisions = read(kafka, kafka.topics.decisions)
        alerts = read(kafka, kafka.topics.alerts)
    by_id = {value["transaction_id"]: value for value in values(decisions)}
    assert by_id["a"] == {
        "transaction_id": "a",
        "event_time": "2026-01-01T00:00:00Z",
        "score": 0.5,
        "decision": "review",
        "reasons": [REASON],
        "model_version": "m1",
        "scored_at": "2026-01-01T00:00:00Z",
    }
    assert {(m.key(), str(m.headers())) for m in decisions} == {
        (b"card", str([("trace", b"\x01")])),
        (b"b", "None"),
    }
    assert {message.key() for message in alerts} == {
        str(alert_id(name)).encode() for name in ("a", "b")
    }
    for value in values(alerts):
        assert value["amount_minor"] == 1000
        assert value["card_token"] == "card"
        assert value["alert_id"] == str(alert_id(value["transaction_id"]))


def test_what_stands_is_sent_and_not_what_a_replay_made_of_it(kafka: Kafka, database: str) -> None:
    for score, kind in ((0.5, Decision.REVIEW), (0.1, Decision.APPROVE)):
        with (
            closing(Publisher(kafka)) as publisher,
            closing(DatabaseWriter(database, generation(database), publisher=publisher)) as writer,
        ):
            write(writer, Outcome(0, 0.0, scored(["a", "b"], score=score, kind=kind)))
    for topic in (kafka.topics.decisions, kafka.topics.alerts):
        sent = [message.value() for message in read(kafka, topic)]
        assert len(sent) == 4
        assert len(set(sent)) == 2, "equal ids, unequal messages"
    assert {value["score"] for value in values(read(kafka, kafka.topics.decisions))} == {0.5}


def test_a_repeat_gets_the_stored_decision_in_its_own_envelope(kafka: Kafka, database: str) -> None:
    first = scored(["a"])
    again = Repeated(
        texts(["a", "never-seen"]),
        first.batch.event_time.repeat(2),
        envelope([b"again", b"lost"], [None, None]),
    )
    with (
        closing(Publisher(kafka)) as publisher,
        closing(DatabaseWriter(database, generation(database), publisher=publisher)) as writer,
    ):
        write(writer, Outcome(0, 0.0, first, envelope([b"k"], [None]), repeated=again))
    sent = read(kafka, kafka.topics.decisions)
    assert sorted(str(message.key()) for message in sent) == ["b'again'", "b'k'"]
    assert len({message.value() for message in sent}) == 1


@pytest.mark.parametrize("topics", [1], indirect=True)
def test_what_kafka_refuses_becomes_a_dead_letter_once(
    broker: Broker, kafka: Kafka, database: str
) -> None:
    small = f"{kafka.topics.decisions}-small"
    broker.create_topic(small, 1, max_message_bytes=400)
    kafka = replace(kafka, topics=replace(kafka.topics, decisions=small))
    long = "x" * 64
    for _ in range(2):  # a replay is refused again, and is the same letter
        with (
            closing(Publisher(kafka)) as publisher,
            closing(DatabaseWriter(database, generation(database), publisher=publisher)) as writer,
        ):
            part = scored([long, "b"])
            big = [{**REASON, "text": "".join(map(chr, range(0x100, 0x300)))}]
            write(writer, Outcome(0, 0.0, replace(part, reasons=texts([big, []]))))
    rows = query(database, "SELECT topic, partition, reason, payload FROM dead_letter")
    assert len(rows) == 1
    topic, partition, reason, payload = rows[0]
    assert (topic, partition, reason) == (small, -1, "refused")
    assert long in payload
    letters = values(read(kafka, kafka.topics.dead_letters))
    assert [letter["reason"] for letter in letters] == ["refused"] * 2
    assert {v["transaction_id"] for v in values(read(kafka, small))} == {"b"}
    broker.delete_topics(small)


def test_while_no_broker_answers_the_writer_waits_and_loses_nothing(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_kafka()
    from dataflows import publisher as module

    monkeypatch.setattr(module, "MOST_QUEUED", 100)
    monkeypatch.setattr(module, "_PATIENCE", 1.0)
    names = [[f"t{step}-{row}" for row in range(50)] for step in range(8)]
    with Broker() as own:
        kafka = kafka_settings(own, make_topics(own))
        with (
            closing(Publisher(kafka)) as publisher,
            closing(DatabaseWriter(database, generation(database), publisher=publisher)) as writer,
        ):
            writer.begin("p0", None)
            own.stop()
            for number, some in enumerate(names):
                writer.write("p0", [Outcome(number, 0.0, scored(some))])
            settled = threading.Event()

            def settle() -> None:
                writer.settle("p0")
                settled.set()

            thread = threading.Thread(target=settle)
            thread.start()
            assert not settled.wait(3), "a snapshot passed, and nothing is acknowledged"
            said = publisher.away()
            assert said is not None
            assert said.startswith("Kafka acknowledges none of ")
            own.start()
            assert settled.wait(60)
            thread.join()
            assert publisher.away() is None
        sent = {value["transaction_id"] for value in values(read(kafka, kafka.topics.decisions))}
    assert sent == {name for some in names for name in some}


@pytest.fixture
def given_up(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the process would be ended for its client's sake, which is soon."""
    monkeypatch.setattr(deaf, "STUCK", 0.5)
    monkeypatch.setattr(deaf, "DEAF", 0.5)
    ended = threading.Event()
    monkeypatch.setattr(deaf, "end", ended.set)
    return ended


@contextmanager
def flushing(publisher: Publisher) -> Iterator[threading.Event]:
    """Waits in a thread until all is acknowledged, which sets the event, or nothing will be."""
    flushed = threading.Event()

    def flush() -> None:
        with suppress(PublishFailed):
            publisher.flush()
            flushed.set()

    thread = threading.Thread(target=flush)
    thread.start()
    yield flushed
    thread.join(30)
    assert not thread.is_alive()


def test_a_client_that_is_not_answered_though_others_are_is_given_up(
    given_up: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deaf, "reachable", lambda _: True)
    kafka = Kafka((f"127.0.0.1:{free_ports(1)[0]}",))
    with closing(Publisher(kafka)) as publisher:
        publisher.bury(made(1))
        with flushing(publisher) as flushed:
            assert given_up.wait(30)
            assert not flushed.is_set()
            publisher._failure = PublishFailed("this process goes on all the same")
    assert "Kafka answers others and not this client" in caplog.text


class Answered:
    """A producer that is answered what it asks, while none of its messages is taken: as where too
    few brokers are in sync, which one broker alone cannot be made to say."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def __len__(self) -> int:
        return len(self._producer)

    def list_topics(self, *_: object, **__: object) -> None:
        pass


@pytest.mark.parametrize("answered", [True, False])
def test_brokers_that_answer_nobody_or_take_nothing_are_waited_for(
    given_up: threading.Event, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    if answered:
        monkeypatch.setattr(deaf, "reachable", lambda _: True)
    kafka = Kafka((f"127.0.0.1:{free_ports(1)[0]}",))
    with closing(Publisher(kafka)) as publisher:
        if answered:
            publisher._producer = Answered(publisher._producer)  # type: ignore[assignment]
        publisher.bury(made(1))
        with flushing(publisher) as flushed:
            assert not given_up.wait(5)
            assert not flushed.is_set()
            assert publisher._asked > 0
            publisher._failure = PublishFailed("nobody is there")


def test_only_fewer_messages_than_ever_or_an_end_of_the_wait_are_an_acknowledgement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dataflows import publisher as module

    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    waiting = module._Waiting()

    def told_after(*counts: int) -> bool:
        for left in counts:
            waiting.look(left)
        return waiting.told is not None

    assert not told_after(100)
    time.sleep(0.2)
    assert told_after(101, 100, 102, 100), "what librdkafka says of a broker is counted for a while"
    assert not told_after(99)
    time.sleep(0.2)
    assert told_after(99)
    waiting.over()
    assert not told_after(100)


def test_a_flow_that_failed_ends_though_no_broker_answers(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataflows import publisher as module

    monkeypatch.setattr(module, "MOST_QUEUED", 100)
    (port,) = free_ports(1)
    kafka = Kafka((f"127.0.0.1:{port}",))
    with closing(Publisher(kafka)) as publisher:
        writer = DatabaseWriter(database, generation(database), publisher=publisher)
        writer.begin("p0", None)
        writer.write("p0", [Outcome(0, 0.0, scored([f"t{row}" for row in range(300)]))])
        while query(database, "SELECT count(*) FROM score") != [(300,)]:
            time.sleep(0.05)
        closing_thread = threading.Thread(target=writer.close)
        publisher.give_up()
        closing_thread.start()
        closing_thread.join(10)
        assert not closing_thread.is_alive()


def test_a_topic_that_is_not_there_stops_the_run_with_its_name(kafka: Kafka, database: str) -> None:
    topics = replace(kafka.topics, decisions="no-such-topic")
    soon = {"topic.metadata.propagation.max.ms": "2000"}  # else it is looked for for 30 s
    with (
        closing(Publisher(replace(kafka, topics=topics, config=soon))) as publisher,
        closing(DatabaseWriter(database, generation(database), publisher=publisher)) as writer,
        pytest.raises(PublishFailed, match="no-such-topic"),
    ):
        write(writer, Outcome(0, 0.0, scored(["a"])))


@pytest.mark.parametrize("topics", [1], indirect=True)
def test_dead_letters_are_sent_with_their_place(kafka: Kafka, database: str) -> None:
    dead = made(7, 8)
    with (
        closing(Publisher(kafka)) as publisher,
        closing(DatabaseWriter(database, generation(database), publisher=publisher)) as writer,
    ):
        write(writer, Outcome(0, dead=dead))
    sent = read(kafka, kafka.topics.dead_letters)
    assert sorted(message.key() or b"" for message in sent) == [
        b"transactions:3:7",
        b"transactions:3:8",
    ]
    for value, offset in zip(values(sent), (7, 8), strict=True):
        assert value == {
            "topic": "transactions",
            "partition": 3,
            "offset": offset,
            "at": "1970-01-02T00:00:00.000001Z",
            "reason": "malformed",
            "field": None,
            "detail": "not JSON",
            "payload": "{",
        }

"""What the slots read, and where they begin: on a real broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from dataflows import deaf
from dataflows.live import reader as reader_module
from dataflows.live import watch
from dataflows.live.pieces import Kind, Piece, Report
from dataflows.live.reader import Offsets, Reader
from dataflows.live.reader import reading as closing_well
from dataflows.live.watch import OffsetsAhead, TopicGone
from dataflows.memory import MemoryStore
from dataflows.messages import Outcome
from tests.kafka.broker import Broker
from tests.kafka.fixtures import kafka_settings
from tests.waiting import wait_until
from tidegate import metrics
from tidegate.schema import DAY, SECOND, Batch, to_datetime
from tidegate.settings import Kafka, Topics

PATIENCE = 30.0


@pytest.fixture
def kafka(broker: Broker, topics: Topics) -> Kafka:
    return replace(kafka_settings(broker, topics), slots=2)


def store() -> MemoryStore:
    return MemoryStore(["all"], 1, lambda decisions: None)


@contextmanager
def reading(kafka: Kafka, offsets: Mapping[int, Offsets] | None = None) -> Iterator[Reader]:
    """A reader with all slots open: at their first start, or with the offsets of snapshots."""
    reader = Reader(kafka, store())
    for slot in range(kafka.slots):
        reader.open(slot, None if offsets is None else offsets.get(slot, {}))
    try:
        yield reader
    finally:
        reader.close(clean=False)


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten messages of a partition may be under way, and some twenty wait."""
    monkeypatch.setattr(reader_module, "_ROOM", 10)
    monkeypatch.setattr(reader_module, "_LEAST_ROOM", 10)
    monkeypatch.setattr(reader_module, "_AT_ONCE", 5)
    monkeypatch.setattr(reader_module, "MOST_FETCHED", 20)


@contextmanager
def reading_into(kafka: Kafka, landed: MemoryStore) -> Iterator[Reader]:
    """A reader at its first start that hears of what has landed in the store."""
    reader = Reader(kafka, landed)
    for slot in range(kafka.slots):
        reader.open(slot, None)
    try:
        yield reader
    finally:
        reader.close(clean=False)


def payment(name: str, **changes: object) -> bytes:
    message = {
        "transaction_id": name,
        "event_time": to_datetime(int(time.time() * SECOND)),
        "amount_minor": 100,
        "currency": "EUR",
        "card_token": "card",
        "terminal_id": "terminal",
        **changes,
    }
    return msgspec.json.encode(message)


def send(kafka: Kafka, topic: str, partition: int, *values: bytes, **more: Any) -> None:
    producer = Producer({"bootstrap.servers": kafka.brokers[0]})
    for value in values:
        producer.produce(topic, value, partition=partition, **more)
    assert producer.flush(30) == 0


def pieces(reader: Reader, slots: int = 2, until: int = 0, quiet: float = 0.5) -> list[Piece]:
    """What is read until so many good rows came and then nothing for a while."""
    found: list[Piece] = []
    deadline, last = time.monotonic() + PATIENCE, time.monotonic()
    while time.monotonic() < deadline:
        for slot in range(slots):
            for taken in reader.take(slot):
                last = time.monotonic()
                if isinstance(taken, Piece):
                    found.append(taken)
        if sum(map(len, found)) >= until and time.monotonic() - last > quiet:
            return found
        time.sleep(0.002)
    raise AssertionError(f"{sum(map(len, found))} of {until} rows in {PATIENCE} s")


def ids(found: list[Piece]) -> list[str]:
    return [
        str(name)
        for piece in found
        if isinstance(piece.rows, Batch)
        for name in piece.rows.transaction_id
    ]


def reports(reader: Reader) -> dict[int, Report]:
    """What the two slots say first, waited for."""
    found: dict[int, Report] = {}
    deadline = time.monotonic() + PATIENCE
    while len(found) < 2:
        assert time.monotonic() < deadline
        for slot in range(2):
            for taken in reader.take(slot):
                if isinstance(taken, Report):
                    found[slot] = taken
        time.sleep(0.002)
    return found


def test_slots_share_the_partitions_of_both_topics_by_number(kafka: Kafka) -> None:
    with reading(kafka) as reader:
        found = reports(reader)
    for slot, report in found.items():
        assert {partition % 2 for _, _, partition in report.places} == {slot}
        assert len(report.places) == 4
    assert {kind for report in found.values() for kind, _, _ in report.places} == set(Kind)


def test_key_headers_and_the_brokers_time_travel_along(kafka: Kafka) -> None:
    headers = [("trace", b"\x01"), ("empty", None)]
    send(kafka, kafka.topics.transactions, 1, payment("a"), key=b"k", headers=headers)
    with reading(kafka) as reader:
        found = [piece for piece in pieces(reader, until=1) if len(piece)]
    (piece,) = found
    assert piece.origin is not None
    assert piece.origin.envelope is not None
    assert piece.origin.envelope.key.tolist() == [b"k"]
    assert piece.origin.envelope.headers.tolist() == [headers]
    assert abs(int(piece.origin.at[0]) / SECOND - time.time()) < 60
    assert (piece.origin.partition.tolist(), piece.origin.offset.tolist()) == ([1], [0])


def test_bad_messages_are_dead_letters_with_their_place_and_cost_no_other(kafka: Kafka) -> None:
    ahead = payment("ahead", event_time=to_datetime(int(time.time() * SECOND) + 2 * DAY))
    send(kafka, kafka.topics.transactions, 0, payment("a"), b"{", ahead, payment("b"))
    producer = Producer({"bootstrap.servers": kafka.brokers[0]})
    producer.produce(kafka.topics.transactions, None, key=b"tombstone", partition=0)
    assert producer.flush(30) == 0
    with reading(kafka) as reader:
        found = pieces(reader, until=2)
    assert ids(found) == ["a", "b"]
    dead = [piece.dead for piece in found if piece.dead is not None]
    rows = [
        (int(offset), str(reason), field)
        for letters in dead
        for offset, reason, field in zip(letters.offset, letters.reason, letters.field, strict=True)
    ]
    assert rows == [(1, "malformed", None), (2, "bad_time", "event_time"), (4, "malformed", None)]


def test_a_payment_that_is_ahead_of_its_message_moves_no_time(kafka: Kafka) -> None:
    soon = int(time.time() * SECOND) + DAY // 2
    send(kafka, kafka.topics.transactions, 0, payment("a", event_time=to_datetime(soon)))
    with reading(kafka) as reader:
        (piece,) = [piece for piece in pieces(reader, until=1) if len(piece)]
    assert int(piece.time[0]) < soon - DAY // 4


def test_a_first_start_begins_where_it_is_told(kafka: Kafka) -> None:
    topic = kafka.topics.transactions
    send(kafka, topic, 0, payment("old"), timestamp=int((time.time() - 7200) * 1000))
    send(kafka, topic, 0, payment("new"))
    with reading(kafka) as reader:
        assert ids(pieces(reader, until=2)) == ["old", "new"]
    hour_ago = to_datetime(int((time.time() - 3600) * SECOND)).isoformat()
    with reading(replace(kafka, start=hour_ago)) as reader:
        assert ids(pieces(reader, until=1)) == ["new"]
    with reading(replace(kafka, start="latest")) as reader:
        reports(reader)
        assert ids(pieces(reader)) == []
        send(kafka, topic, 0, payment("newest"))
        assert ids(pieces(reader, until=1)) == ["newest"]


def test_a_start_after_a_snapshot_begins_where_the_snapshot_was(kafka: Kafka) -> None:
    topic = kafka.topics.transactions
    send(kafka, topic, 0, *[payment(f"a{n}") for n in range(5)])
    with reading(replace(kafka, start="latest"), {0: {topic: {0: 3}}, 1: {}}) as reader:
        found = pieces(reader, until=2)
        assert ids(found) == ["a3", "a4"]
        assert reader.offsets(0)[topic][0] == 5
        # A partition that the snapshot does not know is new, and everything in it is.
        send(kafka, topic, 1, payment("b"))
        assert ids(pieces(reader, until=1)) == ["b"]


def test_partitions_that_are_made_while_it_runs_are_read_from_their_beginning(
    broker: Broker, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    from confluent_kafka.cimpl import NewPartitions

    monkeypatch.setattr(watch, "EVERY", 0.2)
    with reading(replace(kafka, start="latest")) as reader:
        reports(reader)
        admin = broker.admin()
        grown = admin.create_partitions([NewPartitions(kafka.topics.transactions, 6)])
        for done in grown.values():
            done.result(30)
        time.sleep(0.5)
        send(kafka, kafka.topics.transactions, 5, payment("new"))
        found = pieces(reader, until=1)
        assert ids(found) == ["new"]
        # The slot has reported anew, so its older partitions tell again where they stand.
        ends = {piece.place for piece in found if piece.at_end}
        assert {(kafka.topics.transactions, partition) for partition in (1, 3, 5)} <= ends


def test_a_store_that_has_read_further_than_the_topic_goes_is_refused(kafka: Kafka) -> None:
    with (
        reading(kafka, {0: {kafka.topics.transactions: {0: 1000}}}) as reader,
        pytest.raises(OffsetsAhead, match="up to offset 1000, and it ends at 0"),
    ):
        pieces(reader, until=1)


def test_a_topic_that_is_not_there_is_said_in_one_line(kafka: Kafka) -> None:
    topics = replace(kafka.topics, labels="no-such-topic")
    with (
        reading(replace(kafka, topics=topics)) as reader,
        pytest.raises(TopicGone, match="no-such-topic"),
    ):
        pieces(reader, until=1)


def test_messages_that_the_broker_deleted_are_skipped_and_counted(
    broker: Broker, kafka: Kafka
) -> None:
    topic = kafka.topics.transactions
    send(kafka, topic, 0, *[payment(f"a{n}") for n in range(6)])
    admin = broker.admin()
    for deleted in admin.delete_records([TopicPartition(topic, 0, 4)]).values():
        deleted.result(30)
    before = metrics.KAFKA_SKIPPED.labels(topic)._value.get()
    with reading(kafka, {0: {topic: {0: 1}}, 1: {}}) as reader:
        assert ids(pieces(reader, until=2)) == ["a4", "a5"]
    assert metrics.KAFKA_SKIPPED.labels(topic)._value.get() - before == 3


@pytest.mark.usefixtures("little_room")
def test_messages_that_are_deleted_under_its_nose_are_skipped_and_it_goes_on(
    broker: Broker, kafka: Kafka
) -> None:
    topic = kafka.topics.transactions
    names = [f"a{n}" for n in range(100)]
    send(kafka, topic, 0, *map(payment, names))
    landed = store()
    with reading_into(kafka, landed) as reader:
        found = pieces(reader, until=10)
        admin = broker.admin()
        for deleted in admin.delete_records([TopicPartition(topic, 0, 90)]).values():
            deleted.result(30)
        deadline = time.monotonic() + PATIENCE
        while "a99" not in ids(found):
            assert time.monotonic() < deadline
            landed.write("all", [Outcome(0, marks={(topic, 0): reader.offsets(0)[topic][0]})])
            found += pieces(reader, quiet=0.05)
    got = ids(found)
    assert got[-10:] == names[90:]
    assert got[:-10] == names[: len(got) - 10]
    assert 20 < len(got) < 100


def test_the_end_of_a_partition_is_told_also_behind_an_aborted_transaction(kafka: Kafka) -> None:
    topic = kafka.topics.transactions
    producer = Producer({"bootstrap.servers": kafka.brokers[0], "transactional.id": "test"})
    producer.init_transactions(30)
    for name, commit in (("a", True), ("b", False)):
        producer.begin_transaction()
        producer.produce(topic, payment(name), partition=0)
        producer.flush(30)
        (producer.commit_transaction if commit else producer.abort_transaction)(30)
    with reading(kafka) as reader:
        found = pieces(reader, until=1)
        assert ids(found) == ["a"]
        deadline = time.monotonic() + PATIENCE
        while not [p for p in found if p.place == (topic, 0)][-1].at_end:
            assert time.monotonic() < deadline
            found += pieces(reader)
        assert reader.offsets(0)[topic][0] == 4  # two messages and how each transaction ended


@pytest.mark.usefixtures("little_room")
def test_no_more_is_handed_on_than_has_room_until_it_has_landed(kafka: Kafka) -> None:
    topic = kafka.topics.transactions
    names = [f"a{n}" for n in range(100)]
    send(kafka, topic, 0, *map(payment, names))
    landed = store()
    with reading_into(kafka, landed) as reader:
        found = pieces(reader, until=10)
        assert ids(found) == names[:10]
        while len(ids(found)) < 100:
            assert not any(piece.at_end for piece in found if piece.place == (topic, 0))
            have = len(ids(found))
            landed.write("all", [Outcome(0, marks={(topic, 0): have})])
            found += pieces(reader, until=1, quiet=0.2)
        assert ids(found) == names


def test_lag_is_what_is_not_decided_and_stored_however_far_it_was_read(kafka: Kafka) -> None:
    topic = kafka.topics.transactions
    sent = int(time.time() - 600)
    send(kafka, topic, 0, *(payment(f"a{n}") for n in range(100)), timestamp=sent * 1000)
    landed = store()
    with reading_into(kafka, landed) as reader:
        assert len(ids(pieces(reader, until=100))) == 100
        shows(reader, topic, lag=100, seconds=600)
        landed.write("all", [Outcome(0, marks={(topic, 0): 40})])
        shows(reader, topic, lag=60, seconds=600)
        landed.write("all", [Outcome(0, marks={(topic, 0): 100})])
        shows(reader, topic, lag=0, seconds=0)


def shows(reader: Reader, topic: str, lag: int, seconds: int) -> None:
    """Waits until the metrics tell this of partition 0: so many, the first of which waits for at
    least so long, or for none if that is 0."""
    names = "tidegate_consumer_lag", "tidegate_consumer_lag_seconds"
    of = {"topic": topic, "partition": "0"}

    def shown() -> bool:
        pieces(reader, quiet=0.01)
        behind, waits = (metrics.REGISTRY.get_sample_value(name, of) for name in names)
        return behind == lag and waits is not None and (waits >= seconds if seconds else not waits)

    wait_until(shown, PATIENCE)


def test_group_offsets_are_there_for_lag_tools(broker: Broker, kafka: Kafka) -> None:
    topic = kafka.topics.transactions
    send(kafka, topic, 0, payment("a"), payment("b"))
    own = replace(kafka, config={"group.id": f"group-{topic}"})
    with closing_well(own, store()) as reader:
        for slot in range(2):
            reader.open(slot, None)
        pieces(reader, until=2)
    consumer = Consumer({"bootstrap.servers": kafka.brokers[0], "group.id": f"group-{topic}"})

    def committed() -> bool:
        (found,) = consumer.committed([TopicPartition(topic, 0)], timeout=30)
        return bool(found.offset == 2)

    wait_until(committed)
    consumer.close()


def test_a_client_that_does_not_come_back_though_kafka_answers_others_is_given_up(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deaf, "STUCK", 0.5)
    monkeypatch.setattr(deaf, "DEAF", 0.5)
    ended = threading.Event()
    monkeypatch.setattr(deaf, "end", ended.set)
    with reading(kafka) as reader:
        reports(reader)

        def nobody(*_: object, **__: object) -> None:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

        monkeypatch.setattr(reader._watch, "_count", nobody)
        assert ended.wait(PATIENCE)
    assert "Kafka answers others and not this client" in caplog.text


def test_a_client_that_is_answered_soon_after_others_is_left_in_peace(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As at the end of an outage: a new client connects at once, one in its back-off later."""
    monkeypatch.setattr(deaf, "STUCK", 0.0)
    monkeypatch.setattr(watch, "_AGAIN", 0.01)
    monkeypatch.setattr(deaf, "reachable", lambda _: True)
    monkeypatch.setattr(deaf, "end", lambda: pytest.fail("given up"))
    caplog.set_level("INFO")
    with reading(kafka) as reader:
        reports(reader)
        count, calls = reader._watch._count, 0

        def nobody_at_first(topic: str) -> int:
            nonlocal calls
            calls += 1
            if calls <= 10:
                raise KafkaException(KafkaError(KafkaError._TRANSPORT))
            return count(topic)

        monkeypatch.setattr(reader._watch, "_count", nobody_at_first)
        reader._watch.lost(Kind.PAYMENTS, kafka.topics.transactions, 0, 0)  # has it look at once
        deadline = time.monotonic() + PATIENCE
        while "Kafka answers again" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        assert reader.away() is None
    assert "Kafka answers again" in caplog.text


def test_a_broker_that_goes_away_is_told_of_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.kafka.fixtures import make_topics, need_kafka

    need_kafka()
    monkeypatch.setattr(watch, "EVERY", 0.2)
    monkeypatch.setattr(watch, "_PATIENCE", 1.0)
    ended = threading.Event()
    monkeypatch.setattr(deaf, "end", ended.set)
    caplog.set_level("INFO")
    with Broker() as own:
        kafka = replace(kafka_settings(own, make_topics(own)), slots=2)
        send(kafka, kafka.topics.transactions, 0, payment("a"))
        with reading(kafka) as reader:
            assert ids(pieces(reader, until=1)) == ["a"]
            assert reader.away() is None
            own.stop()
            deadline = time.monotonic() + PATIENCE
            while reader.away() is None and time.monotonic() < deadline:
                reader.take(0)
                time.sleep(0.01)
            assert "Kafka does not answer" in (reader.away() or "")
            assert metrics.KAFKA_REACHABLE._value.get() == 0
            own.start()
            wait_until(lambda: reader.away() is None or ended.is_set(), 2 * PATIENCE)
            if ended.is_set():  # the broker's last answer named no broker: `deaf` tells of it
                assert "has to be made anew" in caplog.text
                return
            send(kafka, kafka.topics.transactions, 0, payment("b"))
            assert ids(pieces(reader, until=1)) == ["b"]
            assert metrics.KAFKA_REACHABLE._value.get() == 1
    assert "Kafka does not answer as it should" in caplog.text
    assert "Kafka answers again" in caplog.text

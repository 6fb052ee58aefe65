"""A dead letter's message goes to its topic again, on a real broker and a real database."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.kafka.broker import Broker
from tests.kafka.fixtures import kafka_settings
from tests.tidegate.kafka.letters import BAD, PAN, corrected, letter_of, messages, write
from tidegate.kafka import replay
from tidegate.kafka.single import KafkaFailed, Outgoing, Single
from tidegate.replays import AlreadyReplayed, BadCorrection, CannotReplay, Replayed
from tidegate.settings import Kafka, Topics
from tidegate.store import queries
from tidegate.store.connection import Conn
from tidegate.store.queries import DeadLetter


@pytest.fixture
def kafka(broker: Broker, topics: Topics) -> Kafka:
    return kafka_settings(broker, topics)


@pytest.fixture
def single(kafka: Kafka) -> Iterator[Single]:
    with Single(kafka) as opened:
        yield opened


def replayed(
    conn: Conn,
    kafka: Kafka,
    single: Single,
    letter: DeadLetter,
    correction: bytes | None = None,
    again: bool = False,
) -> Replayed:
    message = replay.prepare(letter, kafka.topics, single, correction=correction, again=again)
    done = replay.send(conn, letter, message, single, actor="ann", again=again)
    conn.commit()
    return done


def read_again(conn: Conn, letter: DeadLetter) -> DeadLetter:
    found = queries.dead_letter(conn, letter.id)
    assert found is not None
    conn.rollback()
    return found


def test_the_original_goes_out_again_byte_by_byte_with_its_key_and_headers(
    conn: Conn, kafka: Kafka, single: Single
) -> None:
    headers = [("trace", b"\x00\xff"), ("trace", b"2"), ("empty", None)]
    write(kafka, kafka.topics.transactions, b"before", partition=1)
    message = write(kafka, kafka.topics.transactions, key=b"\xfe", headers=headers, partition=1)
    write(kafka, kafka.topics.transactions, b"after", partition=1)
    letter = letter_of(conn, message)
    done = replayed(conn, kafka, single, letter)
    last = messages(kafka, kafka.topics.transactions, 1)[-1]
    assert (last.value(), last.key()) == (BAD, b"\xfe")
    assert last.headers() == [*headers, ("tidegate-replay", str(letter.id).encode())]
    assert (done.topic, done.partition, done.offset) == (message.topic, 1, 3)
    assert last.offset() == 3
    assert read_again(conn, letter).replayed_at == done.replayed_at
    row = conn.execute("SELECT actor, action, subject, after FROM audit").fetchall()
    after = {"topic": message.topic, "partition": 1, "offset": 3}
    assert row == [("ann", "dead_letter.replay", str(letter.id), after)]


def test_a_message_without_key_or_value_stays_without(
    conn: Conn, kafka: Kafka, single: Single
) -> None:
    for value, key in ((b"", b""), (b"{", None)):
        letter = letter_of(conn, write(kafka, kafka.topics.labels, value, key=key))
        replayed(conn, kafka, single, letter)
        last = messages(kafka, kafka.topics.labels)[-1]
        assert (last.value(), last.key()) == (value, key)


def test_a_corrected_message_takes_the_originals_place_and_key(
    conn: Conn, kafka: Kafka, single: Single
) -> None:
    message = write(kafka, kafka.topics.transactions, headers=[("schema", b"old")], partition=2)
    letter = letter_of(conn, message)
    replayed(conn, kafka, single, letter, corrected())
    last = messages(kafka, kafka.topics.transactions, 2)[-1]
    assert (last.value(), last.key()) == (corrected(), b"card-1")
    assert last.headers() == [("tidegate-replay", str(letter.id).encode())]


def test_a_correction_is_taken_where_the_original_is_gone(
    conn: Conn, broker: Broker, kafka: Kafka, single: Single
) -> None:
    topic = kafka.topics.transactions
    letter = letter_of(conn, write(kafka, topic))
    write(kafka, topic, b"after")
    admin = AdminClient({"bootstrap.servers": broker.address})
    for deleted in admin.delete_records([TopicPartition(topic, 0, 1)]).values():
        deleted.result()
    with pytest.raises(CannotReplay, match=r"no longer at .* 0:0: give the corrected message"):
        replayed(conn, kafka, single, letter)
    assert read_again(conn, letter).replayed_at is None
    done = replayed(conn, kafka, single, letter, corrected())
    last = messages(kafka, topic, done.partition)[-1]
    assert (last.value(), last.key(), last.offset()) == (corrected(), None, done.offset)


def test_a_message_of_another_time_at_the_same_place_is_not_taken_for_it(
    conn: Conn, kafka: Kafka, single: Single
) -> None:
    message = write(kafka, kafka.topics.transactions)
    letter = letter_of(conn, message, at=message.at + timedelta(milliseconds=1))
    with pytest.raises(CannotReplay, match="made anew: give the corrected message"):
        replayed(conn, kafka, single, letter)
    assert len(messages(kafka, message.topic)) == 1


def test_without_its_topic_nothing_is_replayed_and_no_topic_made(
    conn: Conn, broker: Broker, kafka: Kafka, single: Single
) -> None:
    gone = Kafka(kafka.brokers, topics=Topics(transactions="nowhere", labels="neither"))
    letter = letter_of(conn, write(kafka, kafka.topics.transactions), topic="nowhere")
    with pytest.raises(CannotReplay, match="no longer at nowhere 0:0: give the corrected message"):
        replayed(conn, gone, single, letter)
    with pytest.raises(CannotReplay, match="there is no topic nowhere"):
        replayed(conn, gone, single, letter, corrected())
    listed = AdminClient({"bootstrap.servers": broker.address}).list_topics(timeout=20).topics
    assert "nowhere" not in listed


@pytest.mark.parametrize("correction", [None, corrected()])
def test_what_came_from_elsewhere_than_the_two_topics_is_refused(
    conn: Conn, kafka: Kafka, single: Single, correction: bytes | None
) -> None:
    message = write(kafka, kafka.topics.transactions)
    for topic in ("payments.csv", kafka.topics.decisions):
        letter = letter_of(conn, message, topic=topic, partition=-1)
        with pytest.raises(CannotReplay) as refused:
            replayed(conn, kafka, single, letter, correction)
        assert str(refused.value) == (
            f"dead letter {letter.id} is of '{topic}': only messages of the topics"
            f" {kafka.topics.transactions} and {kafka.topics.labels} can be replayed"
        )


def test_without_a_place_in_kafka_a_correction_is_needed(
    conn: Conn, kafka: Kafka, single: Single
) -> None:
    message = write(kafka, kafka.topics.transactions)
    letter = letter_of(conn, message, partition=-1)
    with pytest.raises(CannotReplay, match="no original in Kafka: give the corrected message"):
        replayed(conn, kafka, single, letter)
    assert replayed(conn, kafka, single, letter, corrected()).topic == message.topic


def test_a_second_replay_is_refused_unless_asked_for(
    conn: Conn, kafka: Kafka, single: Single
) -> None:
    letter = letter_of(conn, write(kafka, kafka.topics.transactions))
    replayed(conn, kafka, single, letter)
    known = read_again(conn, letter)
    with pytest.raises(AlreadyReplayed, match="already"):
        replayed(conn, kafka, single, known)
    with pytest.raises(AlreadyReplayed, match="already"):  # read before the other was done
        replayed(conn, kafka, single, letter)
    conn.rollback()
    assert len(messages(kafka, letter.topic)) == 2
    replayed(conn, kafka, single, known, again=True)
    assert len(messages(kafka, letter.topic)) == 3
    assert conn.execute("SELECT count(*) FROM audit").fetchone() == (2,)


@pytest.mark.parametrize(
    ("correction", "reason", "field"),
    [
        (corrected(amount_minor=-1), "negative_amount", "amount_minor"),
        (corrected(card_token=PAN), "card_number", "card_token"),
        (b"{", "malformed", None),
        (corrected(note="x" * 70_000), "out_of_range", None),
    ],
)
def test_a_bad_correction_is_refused_with_its_reason_and_field(
    conn: Conn, kafka: Kafka, single: Single, correction: bytes, reason: str, field: str | None
) -> None:
    letter = letter_of(conn, write(kafka, kafka.topics.transactions))
    with pytest.raises(BadCorrection) as refused:
        replayed(conn, kafka, single, letter, correction)
    assert (refused.value.reason, refused.value.field) == (reason, field)
    assert reason in str(refused.value)
    assert PAN not in str(refused.value)
    assert len(messages(kafka, letter.topic)) == 1


def test_a_label_is_checked_as_a_label(conn: Conn, kafka: Kafka, single: Single) -> None:
    letter = letter_of(conn, write(kafka, kafka.topics.labels))
    with pytest.raises(BadCorrection, match="fraud"):
        replayed(conn, kafka, single, letter, corrected())
    label = (
        b'{"transaction_id":"t-1","fraud":true,"source":"issuer",'
        b'"labelled_at":"2026-03-02T00:00:00Z"}'
    )
    replayed(conn, kafka, single, letter, label)
    assert messages(kafka, kafka.topics.labels)[-1].value() == label


def test_the_groups_offsets_and_members_are_left_alone(
    conn: Conn, broker: Broker, kafka: Kafka, single: Single
) -> None:
    topic = kafka.topics.transactions
    message = [write(kafka, topic) for _ in range(3)][-1]
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "tidegate"})
    place = TopicPartition(topic, 0, 1)
    consumer.commit(offsets=[place], asynchronous=False)
    replayed(conn, kafka, single, letter_of(conn, message))
    single.read(topic, 0, 0)
    committed = consumer.committed([TopicPartition(topic, 0)], timeout=20)
    assert [one.offset for one in committed] == [1]
    consumer.close()
    admin = AdminClient({"bootstrap.servers": broker.address})
    described = admin.describe_consumer_groups(["tidegate"])["tidegate"].result()
    assert described.members == []


def test_a_kafka_that_does_not_answer_is_told_in_time_and_nothing_is_marked(
    conn: Conn, kafka: Kafka
) -> None:
    letter = letter_of(conn, write(kafka, kafka.topics.transactions))
    away = Kafka(("127.0.0.1:1",), topics=kafka.topics)
    with Single(away, seconds=1) as silent:
        with pytest.raises(KafkaFailed, match="did not answer within 1 seconds"):
            replayed(conn, kafka, silent, letter)
        message = Outgoing(letter.topic, 0, BAD, None, [])
        with pytest.raises(KafkaFailed, match="may have arrived all the same"):
            replay.send(conn, letter, message, silent, actor="ann", again=False)
        conn.rollback()
    assert read_again(conn, letter).replayed_at is None
    assert conn.execute("SELECT count(*) FROM audit").fetchone() == (0,)


def test_what_kafka_refuses_is_told_and_the_next_message_goes_out(
    conn: Conn, kafka: Kafka, single: Single
) -> None:
    topic = kafka.topics.transactions
    with pytest.raises(KafkaFailed, match="too large"):
        single.send(Outgoing(topic, 0, b"x" * 3_000_000, None, []))
    assert single.send(Outgoing(topic, 0, b"x", None, [])).offset == 0


@pytest.mark.parametrize("config", [{"no.such": "1"}, {"security.protocol": "secret"}])
def test_a_configuration_that_librdkafka_refuses_is_one_line(
    kafka: Kafka, config: dict[str, str]
) -> None:
    with (
        Single(Kafka(kafka.brokers, config, kafka.topics)) as wrong,
        pytest.raises(KafkaFailed, match="TIDEGATE_KAFKA_CONFIG") as refused,
    ):
        wrong.read("labels", 0, 0)
    assert "secret" not in str(refused.value)


def test_no_log_line_holds_a_message(
    conn: Conn, kafka: Kafka, single: Single, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    letter = letter_of(conn, write(kafka, kafka.topics.transactions))
    replayed(conn, kafka, single, letter)
    replayed(conn, kafka, single, letter, corrected(), again=True)
    assert PAN not in caplog.text
    assert "card-1" not in caplog.text

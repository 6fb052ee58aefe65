"""What a start asks of Kafka, of a real broker, and what it says when the answer is no."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace

import pytest

from tests.kafka.broker import Broker, free_ports
from tests.kafka.fixtures import kafka_settings, need_kafka, topic_names
from tidegate.kafka.admin import NoBroker, check_config, ensure_topics, wait_for_broker
from tidegate.kafka.heard import plain
from tidegate.settings import Kafka, SettingError, Topics


@pytest.fixture
def nowhere() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


def refusal(kafka: Kafka, seconds: float = 0.5) -> str:
    with pytest.raises(NoBroker) as caught:
        wait_for_broker(kafka, seconds)
    return str(caught.value)


def test_a_broker_that_is_there_keeps_nobody_waiting(broker: Broker) -> None:
    start = time.monotonic()
    wait_for_broker(Kafka((broker.address,)))
    assert time.monotonic() - start < 15  # it would wait for thirty


def test_one_broker_that_answers_is_enough(broker: Broker, nowhere: str) -> None:
    wait_for_broker(Kafka((nowhere, broker.address)), 10)


def test_a_closed_port_is_named_soon(nowhere: str) -> None:
    start = time.monotonic()
    said = refusal(Kafka((nowhere,)), 2.0)
    assert time.monotonic() - start < 20
    assert said.startswith(f"no Kafka broker of {nowhere} answered in ")
    assert said.endswith(" s: Connection refused (set by TIDEGATE_KAFKA_BROKERS)")
    assert "\n" not in said


def test_a_name_that_nobody_knows_is_named() -> None:
    said = refusal(Kafka(("kafka.invalid:9092",)))
    assert "Failed to resolve 'kafka.invalid:9092'" in said


def test_no_broker_at_all_is_a_setting_that_is_missing() -> None:
    with pytest.raises(SettingError, match=r"^TIDEGATE_KAFKA_BROKERS is not set"):
        wait_for_broker(Kafka())


def test_librdkafka_logs_through_python_and_says_a_thing_once(
    nowhere: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    refusal(Kafka((nowhere,)), 1.5)
    assert capfd.readouterr() == ("", "")
    assert [nowhere in said.getMessage() for said in caplog.records] == [True]
    assert caplog.records[0].name == "librdkafka"


def test_the_wait_ends_when_the_broker_starts() -> None:
    need_kafka()
    with Broker() as own:
        own.stop()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait_for_broker, Kafka((own.address,)), 60)
            time.sleep(0.5)
            assert not waiting.done()
            own.start()
            waiting.result(timeout=10)


def test_topics_that_are_there_are_counted_and_left_alone(
    broker: Broker, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    assert ensure_topics(kafka_settings(broker, topics)) == dict.fromkeys(astuple(topics), 4)
    assert not caplog.records


def test_missing_topics_are_made_as_the_broker_makes_them(
    broker: Broker, topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    new = topic_names()
    mixed = replace(new, transactions=topics.transactions)
    made = [new.labels, new.decisions, new.alerts, new.dead_letters]
    found = ensure_topics(kafka_settings(broker, mixed))
    assert found == {topics.transactions: 4} | dict.fromkeys(made, 3)
    assert list(found) == list(astuple(mixed))
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 4
    assert sorted(vars(record)["topic"] for record in caplog.records) == sorted(made)
    assert found == ensure_topics(kafka_settings(broker, mixed))
    broker.delete_topics(*made)


def test_many_may_make_them_at_once(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    kafka = kafka_settings(broker, topic_names())
    barrier = threading.Barrier(4)

    def ensure(_: int) -> dict[str, int]:
        barrier.wait(10)
        return ensure_topics(kafka)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ensure, range(4))) == [dict.fromkeys(astuple(kafka.topics), 3)] * 4
    # Each was made by one of them, which said so.
    said = [vars(record)["topic"] for record in caplog.records]
    assert sorted(said) == sorted(astuple(kafka.topics))
    broker.delete_topics(*said)


def test_topics_of_no_broker_are_no_broker(nowhere: str) -> None:
    with pytest.raises(NoBroker, match="Connection refused"):
        ensure_topics(Kafka((nowhere,)), 0.5)


def test_good_properties_pass_and_nobody_is_asked(nowhere: str) -> None:
    good = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "linger.ms": "5"}
    check_config(Kafka((nowhere,), good | {"sasl.username": "u", "sasl.password": "p"}))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"sasl.pasword": "hunter2"}, '"sasl.pasword"'),
        ({"security.protocol": "hunter2"}, '"security.protocol"'),
        ({"socket.timeout.ms": "hunter2"}, '"socket.timeout.ms"'),
        ({"socket.timeout.ms": "5"}, '"socket.timeout.ms" value 5 is outside allowed range 10'),
        ({"enable.ssl.certificate.verification": "maybe"}, "enable.ssl.certificate.verification"),
        ({"security.protocol": "ssl", "ssl.ca.location": "/nowhere"}, "ssl.ca.location"),
        ({"security.protocol": "ssl", "ssl.key.pem": "hunter2"}, "ssl.key.pem"),
        (
            {
                "security.protocol": "sasl_ssl",
                "sasl.mechanism": "PLAIN",
                "sasl.password": "hunter2",
            },
            "sasl.username",
        ),
        ({"session.timeout.ms": "9000", "max.poll.interval.ms": "5000"}, "max.poll.interval.ms"),
        ({"default.topic.config": "hunter2"}, "default.topic.config"),
        ({"error_cb": "hunter2"}, "error_cb"),
    ],
)
def test_a_bad_property_is_named_in_one_line_without_its_value(
    given: dict[str, str], named: str, nowhere: str
) -> None:
    for ask in (check_config, wait_for_broker, ensure_topics):
        with pytest.raises(SettingError) as caught:
            ask(Kafka((nowhere,), given))
        said = str(caught.value)
        assert said.startswith("TIDEGATE_KAFKA_CONFIG cannot be used: ")
        assert named in said
        assert "\n" not in said
        assert "hunter2" not in repr(caught.value)
        assert caught.value.__cause__ is None


def test_every_text_of_librdkafka_is_cut_to_its_point() -> None:
    for text, point in {
        "sasl_ssl://127.0.0.1:9/bootstrap: SSL handshake failed: x (after 3ms in state "
        "SSL_HANDSHAKE, 4 identical error(s) suppressed)": "SSL handshake failed: x",
        "[::1]:9/bootstrap: Connect to ipv6#[::1]:9 failed: Connection refused (after 0ms in state "
        "CONNECT)": "Connection refused",
    }.items():
        assert plain(text) == point

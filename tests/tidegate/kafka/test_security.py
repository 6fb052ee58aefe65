"""TIDEGATE_KAFKA_CONFIG is all that TLS and SASL need, and what goes wrong there is said clearly.

A real broker with a certificate of a CA of its own, users with SCRAM-SHA-512 over TLS, OAUTHBEARER
with unsecured tokens, and access control lists.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from tests.kafka.broker import Broker
from tests.kafka.fixtures import need_kafka, topic_names
from tests.kafka.secured import LOGIN, PASSWORD, scram_properties, signed
from tidegate.kafka import config
from tidegate.kafka.admin import NoBroker, TopicError, ensure_topics, wait_for_broker
from tidegate.kafka.heard import LIBRDKAFKA
from tidegate.settings import Kafka, Settings


@dataclass(frozen=True)
class Secured:
    """The broker and the CA that signed its certificate; another CA that did not."""

    broker: Broker
    ca: Path
    other_ca: Path

    def kafka(self, listener: str = "SAFE", **properties: str) -> Kafka:
        """As an entry point reads it; properties with underscores for points."""
        given = {name.replace("_", "."): value for name, value in properties.items() if value}
        env = {"BROKERS": self.broker.at(listener), "CONFIG": json.dumps(given)}
        return Settings.from_environ({f"TIDEGATE_KAFKA_{k}": v for k, v in env.items()}).kafka

    def scram(self, **properties: str) -> Kafka:
        """Of a user who may do everything. An empty property is left out."""
        usual = {
            "security_protocol": "SASL_SSL",
            "ssl_ca_location": str(self.ca),
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": "tidegate",
            "sasl_password": PASSWORD,
        }
        return self.kafka(**usual | properties)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    need_kafka()
    directory = tmp_path_factory.mktemp("tls")
    store, ca = signed(directory / "broker")
    _, other_ca = signed(directory / "other")
    properties = {
        **scram_properties(store, "SAFE"),
        "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.oauth.oauthbearer.sasl.jaas.config": (
            f"{LOGIN}.oauthbearer.OAuthBearerLoginModule required "
            'unsecuredLoginStringClaim_sub="broker";'
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:tidegate",
    }
    with Broker(
        listeners={"SAFE": "SASL_SSL", "OAUTH": "SASL_PLAINTEXT"},
        properties=properties,
        scram={"tidegate": PASSWORD, "nobody": PASSWORD, "reader": PASSWORD},
    ) as broker:
        reader = ("--allow-principal", "User:reader", "--operation", "Describe", "--topic", "*")
        broker.tool("kafka-acls", "--add", *reader)
        yield Secured(broker, ca, other_ca)


def carries(kafka: Kafka) -> None:
    """Messages go and come with these settings; the topics are made."""
    ensure_topics(kafka)
    topic = kafka.topics.labels
    producer = Producer(config.producer(kafka), logger=LIBRDKAFKA)
    producer.produce(topic, b"there and back")
    assert producer.flush(20) == 0
    consumer = Consumer(
        config.consumer(kafka, auto_offset_reset="earliest", enable_auto_commit=False),
        logger=LIBRDKAFKA,
    )
    consumer.subscribe([topic])
    [message] = consumer.consume(1, timeout=20)
    consumer.close()
    assert message.error() is None
    assert message.value() == b"there and back"


def refusal(kafka: Kafka, seconds: float, caplog: pytest.LogCaptureFixture) -> str:
    start = time.monotonic()
    with caplog.at_level(logging.DEBUG), pytest.raises(NoBroker) as caught:
        wait_for_broker(kafka, seconds)
    assert time.monotonic() - start < 20  # not all of the time that it had
    said = str(caught.value)
    assert "\n" not in said
    for text in (repr(caught.value), repr(kafka), caplog.text):
        assert PASSWORD not in text
        assert "wrong-horse" not in text
    return said


def test_scram_over_tls_carries_messages(secured: Secured) -> None:
    carries(secured.scram())


def test_oauth_carries_messages(secured: Secured) -> None:
    carries(
        secured.kafka(
            "OAUTH",
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="OAUTHBEARER",
            enable_sasl_oauthbearer_unsecure_jwt="true",
            sasl_oauthbearer_config="principal=tidegate",
        )
    )


def test_a_wrong_password_ends_the_wait_early(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    said = refusal(secured.scram(sasl_password="wrong-horse"), 30, caplog)
    assert "SASL authentication" in said
    assert "invalid credentials" in said
    assert said.endswith("(set by TIDEGATE_KAFKA_CONFIG)")


def test_a_certificate_of_another_ca_ends_the_wait_early(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    said = refusal(secured.scram(ssl_ca_location=str(secured.other_ca)), 30, caplog)
    assert "SSL handshake failed" in said
    assert "certificate" in said
    assert said.endswith("(set by TIDEGATE_KAFKA_CONFIG)")


def test_plain_text_to_the_port_of_tls_is_named(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    for protocol in ("SASL_PLAINTEXT", "PLAINTEXT"):
        said = refusal(secured.scram(security_protocol=protocol), 1.5, caplog)
        assert "security.protocol" in said
        assert said.endswith("(set by TIDEGATE_KAFKA_CONFIG)")


def test_tls_to_a_port_of_plain_text_is_named(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    properties = {"security_protocol": "SSL", "ssl_ca_location": str(secured.ca)}
    said = refusal(secured.kafka("PLAIN", **properties), 1.5, caplog)
    assert "SSL" in said
    assert said.endswith("(set by TIDEGATE_KAFKA_CONFIG)")


@pytest.mark.parametrize(
    ("user", "named"), [("nobody", "may not be looked at"), ("reader", "may not create it")]
)
def test_a_user_without_rights_is_told_which_topic_and_what_to_allow(
    secured: Secured, user: str, named: str
) -> None:
    given = secured.scram(sasl_username=user)
    kafka = Kafka(given.brokers, given.config, topic_names())
    with pytest.raises(TopicError, match=named) as caught:
        ensure_topics(kafka)
    said = str(caught.value)
    assert any(repr(name) in said for name in astuple(kafka.topics))
    assert "TIDEGATE_TOPIC_" in said
    assert "\n" not in said

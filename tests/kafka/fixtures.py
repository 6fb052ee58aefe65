"""Kafka for every test that asks for it; tests/conftest.py makes these fixtures known everywhere.

`broker` is one real broker per test process, `topics` five topics of its own for one test. A test
that a mock can serve honestly (see mock.py) takes `any_broker` and `any_topics` and so also runs
where there is no Java. For a number of partitions other than 4:

    @pytest.mark.parametrize("topics", [1], indirect=True)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple
from uuid import uuid4

import pytest

from tests.kafka.broker import Broker, lacking
from tests.kafka.mock import MockBroker
from tidegate.settings import Kafka, Topics


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A running broker, which no test may stop: for that, start a `Broker` of your own."""
    need_kafka()
    with Broker() as running:
        yield running


@pytest.fixture(scope="session")
def mock_broker() -> Iterator[MockBroker]:
    """librdkafka's mock."""
    with MockBroker() as running:
        yield running


@pytest.fixture(scope="session")
def any_broker(request: pytest.FixtureRequest) -> Broker | MockBroker:
    """The real one where it can be had, else the mock."""
    found: Broker | MockBroker
    found = request.getfixturevalue("mock_broker" if lacking() else "broker")
    return found


@pytest.fixture
def topics(broker: Broker, request: pytest.FixtureRequest) -> Iterator[Topics]:
    """Five topics that exist, gone after the test."""
    made = make_topics(broker, getattr(request, "param", 4))
    yield made
    broker.delete_topics(*astuple(made))


@pytest.fixture
def any_topics(any_broker: Broker | MockBroker, request: pytest.FixtureRequest) -> Iterator[Topics]:
    """As `topics`, of `any_broker`."""
    made = make_topics(any_broker, getattr(request, "param", 4))
    yield made
    any_broker.delete_topics(*astuple(made))


def need_kafka() -> None:
    """Skips or fails the test where no real broker can be started."""
    from tests.conftest import missing  # it imports this module

    if what := lacking():
        missing(what)


def topic_names() -> Topics:
    """Five names that no other test has; nothing is made."""
    mark = uuid4().hex[:12]
    return Topics(*(f"{name}-{mark}" for name in astuple(Topics())))


def make_topics(broker: Broker | MockBroker, partitions: int = 4) -> Topics:
    """Five new topics."""
    names = topic_names()
    broker.create_topics(astuple(names), partitions)
    return names


def kafka_settings(
    broker: Broker | MockBroker, topics: Topics, config: Mapping[str, str] | None = None
) -> Kafka:
    """The settings with which an entry point would reach these topics."""
    return Kafka((broker.address,), dict(config or {}), topics)

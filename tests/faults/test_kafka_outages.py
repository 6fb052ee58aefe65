"""The broker and the database go away under load, in order or in a crash, and come back."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

import migrations
from tests.dataflows.streams import query
from tests.faults.kafka_place import KafkaPlace, Record, a_place
from tests.faults.messages import Message, Traffic
from tests.faults.scales import Scale, at_scales, long, seeded
from tests.kafka.broker import Broker
from tests.kafka.fixtures import make_topics, need_kafka
from tidegate import embedded
from tidegate.embedded import Server
from tidegate.settings import Topics

MATURITY = {"TIDEGATE_MATURITY_DAYS": "0.5"}

CUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND starts_with(application_name, 'tidegate-')
"""


@pytest.fixture
def own_broker() -> Iterator[Broker]:
    """One that the test may stop."""
    need_kafka()
    with Broker() as running:
        yield running


class OwnServer:
    """A PostgreSQL that the test may stop and kill; its URL stays."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server: Server | None = embedded.start(directory)
        self.url = self._server.url

    def start(self) -> None:
        """On its data of before."""
        self._server = embedded.start(self._directory)

    def stop(self) -> None:
        """In order, as an upgrade does; connections are cut."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def crash(self) -> None:
        """SIGKILL to the server's first process, and a new start."""
        assert self._server is not None
        leader = int((self._directory / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(leader, signal.SIGKILL)
        server, self._server = self._server, embedded.start(self._directory)
        server.stop()  # which only lets go of it, as the new one is in use


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    # Not pytest's own temporary directory, see `postgres` in tests/conftest.py.
    directory = Path(tempfile.mkdtemp(prefix="tidegate-test-"))
    server = OwnServer(directory)
    try:
        migrations.upgrade(server.url)
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory)


def each_time(place: KafkaPlace, scale: Scale, times: int) -> Iterator[int]:
    """Waits for the moments when a fault is to come."""
    for number in range(times):
        place.wait_decided(round(scale.rows * 0.8 * number / times) + 1)
        yield number


def parts(traffic: Traffic, count: int) -> list[Sequence[Message]]:
    """So many, one after the other: a fault comes while there is always more to send."""
    ends = [len(traffic) * number // count for number in range(count + 1)]
    return [traffic.messages[start:end] for start, end in pairwise(ends)]


@at_scales
def test_a_broker_that_goes_away_is_waited_for_and_said_to_be_away(
    scale: Scale,
    database: str,
    own_broker: Broker,
    tmp_path: Path,
    record_property: Record,
) -> None:
    topics = make_topics(own_broker)
    traffic = scale.traffic(seeded())
    with a_place(database, own_broker, topics, tmp_path, traffic, **MATURITY) as place:
        place.cluster.start(1)
        place.cluster.wait_ready()
        first, *others = parts(traffic, scale.times + 1)
        place.sender.send(first)
        for part in others:
            place.sender.finish()
            own_broker.stop()
            began = time.monotonic()
            answer = place.cluster.wait_ready(503, naming="kafka")
            assert answer["status"] == "not ready"
            assert place.cluster.metric("tidegate_kafka_reachable") == 0.0
            assert place.cluster.get("/healthz")[0] == 200
            time.sleep(max(0.0, scale.outage - (time.monotonic() - began)))
            own_broker.start()
            place.sender.renew()
            place.sender.start(part, scale.pace)
            place.recovered()
            place.cluster.wait_ready(200, naming="kafka")
            place.cluster.wait_metric("tidegate_kafka_reachable", 1.0)
        place.finish(record_property, f"broker stopped for {scale.outage:g} s", scale.times)
        # A broker's last answer may name no broker, and librdkafka then not come back (`deaf`).
        deaf = place.cluster.said().count("has to be made anew")
        assert place.generation() == 1 + deaf, "nothing else should have started again"


@at_scales
def test_a_broker_that_is_killed_loses_nothing_that_it_had_taken(
    scale: Scale,
    database: str,
    own_broker: Broker,
    tmp_path: Path,
    record_property: Record,
) -> None:
    topics = make_topics(own_broker)
    traffic = scale.traffic(seeded())
    with a_place(database, own_broker, topics, tmp_path, traffic, **MATURITY) as place:
        place.cluster.start(2)
        place.cluster.wait_ready()
        first, *others = parts(traffic, scale.times + 1)
        place.sender.send(first)
        for part in others:
            place.wait_decided(1)
            place.sender.finish()
            place.sender.start(part, scale.pace)
            time.sleep(0.5)
            own_broker.kill()
            own_broker.start()
            place.recovered()
        place.finish(record_property, "broker killed while producing", scale.times)


@at_scales
def test_a_database_that_goes_away_is_waited_for(
    scale: Scale,
    own_server: OwnServer,
    broker: Broker,
    topics: Topics,
    tmp_path: Path,
    record_property: Record,
) -> None:
    traffic = scale.traffic(seeded())
    with a_place(own_server.url, broker, topics, tmp_path, traffic, **MATURITY) as place:
        place.sender.start(traffic.messages, scale.pace)
        place.cluster.start(1)
        for _ in each_time(place, scale, scale.times):
            own_server.stop()
            place.cluster.wait_ready(503, naming="database")
            time.sleep(scale.outage)
            own_server.start()
            place.recovered()
            place.cluster.wait_ready(200, naming="database")
        place.finish(record_property, f"database stopped for {scale.outage:g} s", scale.times)
        assert place.generation() == 1, "nothing should have started again"


@pytest.mark.parametrize("scale", [pytest.param(Scale(10_000, 4, 300, 5, 0), marks=long(600))])
def test_a_database_that_crashes_loses_nothing_that_it_had_confirmed(
    scale: Scale,
    own_server: OwnServer,
    broker: Broker,
    topics: Topics,
    tmp_path: Path,
    record_property: Record,
) -> None:
    traffic = scale.traffic(seeded())
    with a_place(own_server.url, broker, topics, tmp_path, traffic, **MATURITY) as place:
        place.sender.start(traffic.messages, scale.pace)
        place.cluster.start(2)
        for _ in each_time(place, scale, scale.times):
            own_server.crash()
            place.recovered()
        place.finish(record_property, "database killed", scale.times)


@at_scales
def test_cut_connections_to_the_database_are_made_anew(
    scale: Scale,
    database: str,
    broker: Broker,
    topics: Topics,
    tmp_path: Path,
    record_property: Record,
) -> None:
    rng = seeded()
    times = 3 * scale.times
    traffic = scale.traffic(rng)
    with a_place(database, broker, topics, tmp_path, traffic, **MATURITY) as place:
        place.sender.start(traffic.messages, scale.pace)
        place.cluster.start(2)
        for _ in each_time(place, scale, times):
            time.sleep(rng.random() * 0.3)
            ((cut,),) = query(database, CUT)
            assert cut >= 3, "the sinks, the history and the lease"
            place.recovered()
        place.finish(record_property, "all connections to the database cut", times)
        assert place.generation() == 1, "nothing should have started again"

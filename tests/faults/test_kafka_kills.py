"""Processes of a run from Kafka are killed, stopped and started again under load."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.dataflows.streams import query
from tests.faults.cluster import SNAPSHOT_SECONDS
from tests.faults.kafka_place import KafkaPlace, Record, a_place, lag
from tests.faults.scales import Scale, at_scales, seeded
from tests.kafka.broker import Broker
from tidegate.settings import Topics
from tidegate.store import connection, promotions

MATURITY = {"TIDEGATE_MATURITY_DAYS": "0.5"}


def kill(place: KafkaPlace, what: str) -> None:
    """SIGKILL, and whatever an operator's own supervisor would do after it."""
    generation = place.generation()
    if what == "worker":
        place.cluster.kill_worker()
    elif what == "workers":
        place.cluster.kill_workers()
    else:
        place.cluster.kill_supervisor()
        place.cluster.start()
    place.recovered(after=generation)


MODELS = """
SELECT DISTINCT name FROM model_version WHERE version IN (SELECT model_version FROM score)
"""


def change_model(database: str, number: int) -> None:
    """Promotes another model, and takes it back the next time."""
    with connection.connect(database, application_name="tidegate-test") as conn:
        if number % 2 == 0:
            promotions.promote(conn, "quick", actor="test")
        else:
            promotions.rollback(conn, actor="test")


@at_scales
def test_killed_processes_lose_double_and_change_nothing(
    scale: Scale,
    database: str,
    broker: Broker,
    topics: Topics,
    tmp_path: Path,
    record_property: Record,
) -> None:
    rng = seeded()
    env = MATURITY | {"TIDEGATE_CHALLENGERS": "quick"}
    with a_place(database, broker, topics, tmp_path, scale.traffic(rng), **env) as place:
        place.sender.start(place.traffic.messages, scale.pace)
        place.cluster.start(2)
        kills = ["worker", "workers", "supervisor"] * scale.times
        rng.shuffle(kills)
        for number, what in enumerate(kills):
            place.wait_decided(round(scale.rows * 0.8 * (number + rng.random()) / len(kills)) + 1)
            change_model(database, number)
            kill(place, what)
        place.finish(record_property, "SIGKILL: one worker, all, the supervisor", len(kills))
        assert {name for (name,) in query(database, MODELS)} == {"champion", "quick"}
        assert place.cluster.said().count("all workers start again") >= scale.times


@at_scales
def test_a_run_that_is_stopped_and_goes_on_with_other_workers_tells_every_decision_once(
    scale: Scale,
    database: str,
    broker: Broker,
    topics: Topics,
    tmp_path: Path,
    record_property: Record,
) -> None:
    traffic = scale.traffic(seeded(), repeats=False)
    with a_place(database, broker, topics, tmp_path, traffic, **MATURITY) as place:
        place.sender.start(traffic.messages, scale.pace)
        numbers = [1, 3, 2] * scale.times
        for number, workers in enumerate(numbers):
            generation = place.generation()
            place.cluster.start(workers)
            place.recovered(after=generation)
            place.wait_decided(round(scale.rows * 0.8 * (number + 1) / len(numbers)))
            if number + 1 < len(numbers):
                place.cluster.stop()
        place.wait_all()
        running = lag_falls_to_zero(place)
        place.finish(
            record_property, "SIGTERM, and other workers: 1, 3, 2", len(numbers), once=True
        )
        stopped = lag(broker, topics)
        assert sum(stopped.values()) == 0, stopped
        assert stopped.keys() == running.keys()


def lag_falls_to_zero(place: KafkaPlace) -> dict[tuple[str, int], int]:
    """By Kafka's own tool, while the run goes on: offsets are committed a snapshot late."""
    time.sleep(3 * SNAPSHOT_SECONDS)
    deadline = time.monotonic() + 20  # the tool takes seconds itself, and the machine is busy
    while sum((found := lag(place.broker, place.topics)).values()):
        assert time.monotonic() < deadline, found
    assert len(found) == 8, "four partitions of two topics"
    return found


@pytest.mark.long
@pytest.mark.parametrize("topics", [1], indirect=True)
def test_one_partition_is_enough_for_several_workers(
    database: str, broker: Broker, topics: Topics, tmp_path: Path, record_property: Record
) -> None:
    scale = Scale(rows=2_000, days=2, pace=0, times=1, outage=0)
    with a_place(database, broker, topics, tmp_path, scale.traffic(seeded()), **MATURITY) as place:
        place.sender.send(place.traffic.messages)
        place.cluster.start(2)
        place.wait_decided(scale.rows // 3)
        kill(place, "worker")
        place.finish(record_property, "SIGKILL of a worker, one partition", 1)

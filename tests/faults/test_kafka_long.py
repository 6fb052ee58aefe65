"""The long one: a hundred thousand payments, twenty kills, and a model that learns as well as it
does from files."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tests.dataflows.streams import frauds, query, write
from tests.faults.cluster import TIDEGATE
from tests.faults.kafka_place import KafkaPlace, Record, a_place
from tests.faults.messages import known, traffic, world
from tests.faults.scales import long, seeded
from tests.kafka.broker import Broker
from tidegate.schema import DAY, Batch, Labels
from tidegate.settings import Topics

ROWS, DAYS = 100_000, 40
KILLS = 20
PACE = 400  # messages a second
LEARNED = 10 * DAY  # of the stream, after which the model knows something

# How much average precision may differ from a run over files, where nothing comes out of order.
TOLERANCE = 0.005


@pytest.mark.parametrize("kills", [pytest.param(KILLS, marks=long(3600))])
def test_a_hundred_thousand_payments_survive_twenty_kills_with_changing_workers(
    kills: int,
    database: str,
    broker: Broker,
    topics: Topics,
    tmp_path: Path,
    record_property: Record,
    new_database: Callable[[], str],
) -> None:
    rng = seeded()
    batch, told = world(ROWS, DAYS, rng.randrange(2**32))
    sent = traffic(batch, told, np.random.default_rng(rng.randrange(2**32)), odd_labels=False)
    with a_place(database, broker, topics, tmp_path, sent) as place:
        place.sender.start(sent.messages, PACE)
        place.cluster.start(rng.randint(1, 3))
        what = ["worker", "workers", "supervisor"]
        for number in range(kills):
            place.wait_decided(round(ROWS * 0.92 * (number + rng.random()) / kills), 600)
            time.sleep(rng.random() * 2)
            if number % len(what) == 0:
                rng.shuffle(what)  # so that the command never sees many deaths in a row
            kill(place, what[number % len(what)], rng.randint(1, 3))
        place.wait_all(1800)
        name = f"{ROWS:,} payments, {kills} SIGKILLs, 1 to 3 workers"
        place.finish(record_property, name, kills)
        assert place.decided() == ROWS
    from_kafka = scores(database)
    from_files = scores(run_over_files(new_database(), tmp_path / "files", batch, told))
    truth = frauds(told)
    for after, text in ((0, "all"), (LEARNED, "once it has learned")):
        ids = batch.transaction_id[batch.event_time >= batch.event_time[0] + after].tolist()
        fraud = [one in truth for one in ids]
        kafka, files = (
            float(average_precision_score(fraud, [found[one] for one in ids]))
            for found in (from_kafka, from_files)
        )
        record_property("note", f"average precision, {text}: Kafka {kafka:.4f}, files {files:.4f}")
        assert abs(kafka - files) <= TOLERANCE, f"{text}: {kafka:.4f} and {files:.4f}"


def kill(place: KafkaPlace, what: str, workers: int) -> None:
    """SIGKILL to a worker, all of them, or the command, which is started with other workers."""
    generation = place.generation()
    if what == "worker":
        place.cluster.kill_worker()
    elif what == "workers":
        place.cluster.kill_workers()
    else:
        place.cluster.kill_supervisor()
        place.cluster.start(workers)
    place.recovered(after=generation)


def scores(database: str) -> dict[str, float]:
    """The stored scores by id."""
    return dict(query(database, "SELECT transaction_id, score FROM score"))


def run_over_files(database: str, data: Path, batch: Batch, told: Labels) -> str:
    """The same payments and labels from files, into another database; gives its URL."""
    data.mkdir()
    payments, labels = map(str, write(data, batch, known(batch, told)))
    subprocess.run(
        [str(TIDEGATE), "run", "--transactions", payments, "--labels", labels],
        env=os.environ | {"TIDEGATE_DATABASE_URL": database, "TIDEGATE_DATA_DIR": str(data)},
        check=True,
        capture_output=True,
        timeout=600,
    )
    return database

"""A whole run from Kafka beside a run from files, on a real broker and a real database."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dataflows.runner import run
from tests.dataflows.streams import SCORES, a_run, query, simulated, write
from tests.faults.cluster import CONTROL, Cluster
from tests.kafka.broker import Broker
from tests.kafka.fixtures import kafka_settings
from tidegate.kafka.feeding import Feeder
from tidegate.settings import Topics

ROWS, DAYS, SEED = 6_000, 12, 29
MATURITY_DAYS = 2.0


@pytest.mark.usefixtures("signals")
def test_a_backlog_is_decided_to_the_bit_as_the_same_payments_from_files(
    broker: Broker, topics: Topics, new_database: Callable[[], str], tmp_path: Path
) -> None:
    payments, told = simulated(ROWS, DAYS, SEED)
    assert len(told)
    from_files, from_kafka = new_database(), new_database()
    assert run(
        a_run(
            from_files,
            tmp_path / "files",
            write(tmp_path, payments, told),
            maturity_days=MATURITY_DAYS,
            review=0.02,
            decline=0.3,
            control=CONTROL,
        )
    )
    with closing(Feeder(kafka_settings(broker, topics))) as feeder:
        feeder.send(payments, told)
        feeder.finish()
    cluster = Cluster(
        from_kafka, broker.address, topics, tmp_path, TIDEGATE_MATURITY_DAYS=str(MATURITY_DAYS)
    )
    cluster.start(2)
    try:
        deadline = time.monotonic() + 220  # two ticks a second on a machine that does other things
        while query(from_kafka, "SELECT count(*) FROM score") != [(ROWS,)]:
            assert time.monotonic() < deadline, cluster.said()[-2000:]
            time.sleep(0.1)
        cluster.stop()
    finally:
        cluster.kill_everything()
    wanted, found = query(from_files, SCORES), query(from_kafka, SCORES)
    assert len({row[12] for row in found}) > 1, "everything was decided alike"
    differing = [row[0] for row, other in zip(wanted, found, strict=True) if row != other]
    assert not differing, f"{len(differing)} of {ROWS} differ, the first is {differing[0]}"

"""A real Prometheus with the rules that the chart ships, beside a run whose Kafka goes away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster
from tests.faults.prometheus import watching
from tests.faults.scales import long
from tests.kafka.broker import Broker, free_ports
from tests.kafka.fixtures import make_topics, need_kafka
from tests.waiting import wait_until

RULES = Path(__file__).parents[2] / "helm" / "tidegate" / "rules.yaml"
ALERT = "TidegateKafkaUnreachable"
HEALTHY = 30.0  # seconds that are looked at before
PATIENCE = 300.0  # the alert waits for two minutes itself


def config(port: int) -> dict[str, object]:
    """What watches a run that shows its metrics at this port."""
    place = {"namespace": "payments", "pod": "flow-0"}
    targets = [{"targets": [f"127.0.0.1:{port}"], "labels": place}]
    return {
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "flow", "static_configs": targets}],
    }


@pytest.mark.parametrize("alert", [pytest.param(ALERT, marks=long(900))])
def test_a_kafka_that_is_away_fires_its_alert_and_no_other_and_it_resolves(
    alert: str, database: str, prometheus: str, tmp_path: Path
) -> None:
    need_kafka()
    with Broker() as broker:
        cluster = Cluster(database, broker.address, make_topics(broker, 2), tmp_path / "run")
        cluster.data.mkdir()
        cluster.start(1)
        try:
            cluster.wait_ready()
            address = f"127.0.0.1:{free_ports(1)[0]}"
            directory = tmp_path / "prometheus"
            with watching(prometheus, address, config(cluster.port), directory) as watcher:
                wait_until(lambda: watcher.scrapes(1), 60, (directory / "log").read_text)
                began = time.monotonic()
                while time.monotonic() - began < HEALTHY:
                    assert "firing" not in watcher.alerts().values()
                    time.sleep(2)
                broker.stop()
                began = time.monotonic()
                while (found := watcher.alerts()).get(alert) != "firing":
                    assert [n for n, state in found.items() if state == "firing"] == []
                    assert time.monotonic() - began < PATIENCE, found
                    time.sleep(2)
                assert [n for n, state in found.items() if state == "firing"] == [alert]
                broker.start()
                began = time.monotonic()
                while alert in (found := watcher.alerts()):
                    assert time.monotonic() - began < PATIENCE, found
                    time.sleep(2)
                assert "firing" not in found.values()
            cluster.stop()
        finally:
            cluster.kill_everything()

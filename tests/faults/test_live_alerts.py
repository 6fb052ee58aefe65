"""A real Prometheus with the rules that the chart ships, beside a run whose Kafka goes away."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster
from tests.faults.scales import long
from tests.kafka.broker import Broker, free_ports
from tests.kafka.fixtures import make_topics, need_kafka

RULES = Path(__file__).parents[2] / "helm" / "tidegate" / "rules.yaml"
ALERT = "TidegateKafkaUnreachable"
HEALTHY = 30.0  # seconds that are looked at before
PATIENCE = 300.0  # the alert waits for two minutes itself


class Prometheus:
    """A running one, asked over HTTP."""

    def __init__(self, port: int) -> None:
        self._port = port

    def alerts(self) -> dict[str, str]:
        """The state of each alert that is pending or fires, by name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/alerts") as answer:
            found = json.load(answer)["data"]["alerts"]
        return {alert["labels"]["alertname"]: alert["state"] for alert in found}

    def scrapes(self) -> bool:
        """Whether it reads the run's metrics."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/targets") as answer:
                targets = json.load(answer)["data"]["activeTargets"]
        except OSError:
            return False
        return [target["health"] for target in targets] == ["up"]


@contextmanager
def watching(prometheus: str, port: int, directory: Path) -> Iterator[Prometheus]:
    """Prometheus on a run that shows its metrics at this port."""
    (own,) = free_ports(1)
    config = {
        "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": "flow",
                "static_configs": [
                    {
                        "targets": [f"127.0.0.1:{port}"],
                        "labels": {"namespace": "payments", "pod": "flow-0"},
                    }
                ],
            }
        ],
    }
    directory.mkdir()
    (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                prometheus,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{own}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        watcher = Prometheus(own)
        deadline = time.monotonic() + 60
        while not watcher.scrapes():
            assert process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.2)
        yield watcher
    finally:
        process.terminate()
        process.wait(30)


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
            with watching(prometheus, cluster.port, tmp_path / "prometheus") as watcher:
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

"""Pods that come and go by themselves, with how busy they are and with what waits in Kafka."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.cluster import scaling
from tests.cluster.node import Node
from tests.cluster.outside import Outside
from tests.cluster.release import Release
from tests.cluster.released import Released
from tests.faults.kafka_place import Record
from tests.faults.scales import Scale, seeded
from tests.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

SCALE = Scale(rows=300_000, days=12, pace=300, times=1, outage=0)
FIRST = 40_000  # messages that come at that pace; the others wait in Kafka all at once
MOST = 3
SETTINGS = (
    # So that what waits lasts until pods have come, and each that comes is of use.
    "flow.resources.limits.cpu=300m",
    "members.resources.limits.cpu=300m",
    f"members.autoscaling.maxReplicas={MOST}",
    "api.autoscaling.enabled=true",
    f"api.autoscaling.maxReplicas={MOST}",
)
# The chart's own are a minute, seen with CPU, and a quarter of an hour.
SOON = {
    "scaleUp": {"stabilizationWindowSeconds": 15},
    "scaleDown": {"stabilizationWindowSeconds": 30},
}
PATIENCE = 240.0  # of figures each 15 s, of a minute in which more are wanted, of a start


@pytest.fixture
def place(prepared: Release, given: Outside) -> Iterator[Released]:
    made = Released.of(prepared, given, SCALE.traffic(seeded()))
    try:
        yield made
    finally:
        made.sender.close()


def test_pods_come_with_their_load_and_go_without_it_and_no_decision_is_lost_doubled_or_changed(
    kubernetes: Node, place: Released, prometheus: str, tmp_path: Path, record_property: Record
) -> None:
    release, messages = place.release, place.traffic.messages
    scaling.by_cpu(kubernetes)
    scaling.by_lag(kubernetes)
    with scaling.prometheus_of(release, prometheus, tmp_path) as url:
        lag = "members.autoscaling.lag"
        release.install("members", *SETTINGS, f"{lag}.prometheus=")
        place.sender.start(messages[:FIRST], SCALE.pace)
        cpu = becomes(place, MOST)
        with asked(release):
            wait_until(lambda: number(release, "api") == MOST, PATIENCE, release.said)
        # KEDA takes no deployment that has an autoscaler: first without, as the docs say.
        release.install("members", *SETTINGS, "members.autoscaling.enabled=false")
        becomes(place, 1)
        place.sender.finish(PATIENCE)

        release.install("members", *SETTINGS, f"{lag}.prometheus={url}", f"{lag}.perMember=2000")
        windows = {"spec": {"advanced": {"horizontalPodAutoscalerConfig": {"behavior": SOON}}}}
        scaled = ("scaledobject", "tidegate-member")
        release.kubectl("patch", *scaled, "--type=merge", "-p", json.dumps(windows))
        place.sender.send(messages[FIRST:])
        backlog = becomes(place, MOST)
        place.wait_all(600)
        assert number(release, "member") == MOST  # nobody goes before all is decided
        becomes(place, 1)
    place.finish(record_property, "pods: come and go with CPU, and with the backlog", 4)
    record_property(
        "note", f"{MOST} members work {cpu:.0f} s after load came, {backlog:.0f} s after a backlog"
    )


def becomes(place: Released, members: int) -> float:
    """Waits until there are so many members, and all of them work beside the flow's pod; seconds
    that it took."""
    began = time.monotonic()

    def works() -> bool:
        return number(place.release, "member") == members and place.working(0) == members + 1

    wait_until(works, PATIENCE, place.said)
    place.witness.look()
    return time.monotonic() - began


def number(release: Release, part: str) -> int:
    """Of pods that are wanted."""
    wanted = ("get", "deployment", f"tidegate-{part}", "-o", "jsonpath={.spec.replicas}")
    return int(release.kubectl(*wanted))


@contextmanager
def asked(release: Release) -> Iterator[None]:
    """Somebody asks one of the API's pods for its metrics, again and again."""
    address, stop = release.pods("api")[0]["status"]["podIP"], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            with suppress(OSError), urllib.request.urlopen(f"http://{address}:8000/metrics") as it:
                it.read()

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    try:
        yield
    finally:
        stop.set()
        asker.join()

"""The chart in a real Kubernetes: what it makes starts, is closed to strangers, and whatever the
cluster does to its pods, no decision is lost, doubled or changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.cluster.node import Node
from tests.cluster.outside import DATABASE, KAFKA, Outside
from tests.cluster.release import Release
from tests.cluster.released import Released
from tests.dataflows.streams import query
from tests.faults.kafka_place import Record
from tests.faults.scales import Scale, seeded
from tests.waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

SCALE = Scale(rows=60_000, days=6, pace=175, times=1, outage=0)
CLUSTER = "kubernetes.default:443"  # its API
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"

# Tells of each host:port given whether it can be reached.
REACHES = """
import json, socket, sys
found = {}
for place in sys.argv[1:]:
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
        found[place] = True
    except OSError:
        found[place] = False
print(json.dumps(found))
"""

STRANGER = """\
apiVersion: v1
kind: Pod
metadata: {name: stranger}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: stranger
      image: IMAGE
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      command: [sleep, infinity]
"""


@pytest.fixture(scope="module")
def release(prepared: Release) -> Release:
    prepared.install("kafka")
    return prepared


def test_a_release_is_ready_and_says_so_when_it_is_asked(release: Release) -> None:
    told = release.node.run(release.helm, "test", "tidegate", "--namespace", "payments")
    assert "Phase:          Succeeded" in told
    for part, number in (("flow", 1), ("api", 2)):
        pods = release.pods(part)
        assert len(pods) == number
        for pod in pods:
            (status,) = pod["status"]["containerStatuses"]
            assert (status["ready"], status["restartCount"]) == (True, 0)


def test_a_pod_is_nobody_and_may_nothing(release: Release) -> None:
    look = "id -u; grep CapBnd /proc/1/status; touch /new 2>&1; ls /var/run/secrets 2>&1; true"
    for part in ("flow", "api"):
        pod = release.pods(part)[0]["metadata"]["name"]
        told = release.kubectl("exec", pod, "-c", part, "--", "sh", "-c", look).splitlines()
        assert told[:2] == ["10001", "CapBnd:\t0000000000000000"]
        assert "Read-only file system" in told[2]
        assert "No such file" in told[3]


def test_pods_reach_what_they_need_and_strangers_do_not_reach_them(release: Release) -> None:
    flow, api = (release.pods(part)[0] for part in ("flow", "api"))
    to_flow, to_api = (
        f"{pod['status']['podIP']}:{port}" for pod, port in ((flow, 9100), (api, 8000))
    )
    cluster, database, kafka = CLUSTER, ":".join(map(str, DATABASE)), ":".join(map(str, KAFKA))
    name = flow["metadata"]["name"]
    closed = {cluster: False, to_api: False}
    assert_reaches(release.node, "payments", name, {database: True, kafka: True, **closed})
    name = api["metadata"]["name"]
    # Webhooks are sent by HTTPS to wherever they are wanted.
    closed = {to_flow: False, "kubernetes.default:6443": False}
    assert_reaches(release.node, "payments", name, {database: True, kafka: True, **closed})
    image = flow["spec"]["containers"][0]["image"]
    # Of the chart's set of values, that namespace is the one that may read metrics.
    for namespace, may_read in (("payments", False), ("elsewhere", False), ("monitoring", True)):
        with stranger(release.node, namespace, image):
            expected = {to_flow: may_read, to_api: False, database: True}
            assert_reaches(release.node, namespace, "stranger", expected)


@contextmanager
def stranger(node: Node, namespace: str, image: str) -> Iterator[None]:
    """A pod of that name which belongs to nobody."""
    inside = ("--namespace", namespace)
    if namespace not in node.kubectl("get", "namespaces", "-o", "name"):
        node.kubectl("create", "namespace", namespace)
    node.kubectl(*inside, "apply", "-f", "-", given=STRANGER.replace("IMAGE", image))
    try:
        node.kubectl(*inside, "wait", "--for=condition=Ready", "pod/stranger")
        yield
    finally:
        node.kubectl(*inside, "delete", "pod", "stranger", "--now")


def assert_reaches(node: Node, namespace: str, pod: str, expected: Mapping[str, bool]) -> None:
    """What it can connect to. Rules follow a new pod a moment later: it is asked again."""
    ask = ("exec", pod, "--", "python", "-c", REACHES, *expected)

    def told() -> str:
        return node.kubectl("--namespace", namespace, *ask)

    wait_until(lambda: json.loads(told()) == expected, 30, told)


@pytest.mark.parametrize("job", ["maintain", "backup"])
def test_a_scheduled_job_does_its_work(release: Release, job: str) -> None:
    name = f"now-{job}"
    release.kubectl("create", "job", name, f"--from=cronjob/tidegate-{job}")
    wait = ("wait", "--for=condition=Complete", f"job/{name}", "--timeout=120s")
    try:
        release.kubectl(*wait, seconds=150)
    except AssertionError as error:
        error.add_note(release.kubectl("logs", f"job/{name}"))
        raise
    said = release.kubectl("logs", f"job/{name}")
    assert job == "maintain" or ".dump" in said
    release.kubectl("delete", "job", name)


@pytest.fixture
def place(release: Release, given: Outside) -> Iterator[Released]:
    made = Released.of(release, given, SCALE.traffic(seeded()))
    try:
        yield made
    finally:
        made.sender.close()
        release.install("kafka")


def test_whatever_a_cluster_does_to_pods_no_decision_is_lost_doubled_or_changed(
    place: Released, record_property: Record
) -> None:
    place.sender.start(place.traffic.messages, SCALE.pace)
    place.wait_decided(1)
    place.kill_flow()
    place.replace_flow()
    place.install("kafka", "flow.workers=2")
    place.install("kafka", "members.enabled=true", "members.replicas=1", "flow.workers=1")
    place.become(4)
    place.kill_member()
    place.cut_off_member()
    place.become(2)
    place.install("kafka")
    place.wait_all(300)
    place.finish(record_property, "pods: killed, replaced, cut off, 1 to 4 to 2", 10)
    assert query(place.database, DEADLOCKS) == [(0,)]

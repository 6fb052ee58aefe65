"""The chart in a real Kubernetes: what it makes starts, is closed to strangers, and whatever the
cluster does to its pods, no decision is lost, doubled or changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.node import Node, node
from tests.cluster.outside import DATABASE, KAFKA, Outside, outside
from tests.cluster.parts import BIN
from tests.cluster.release import Release, prepare
from tests.conftest import missing
from tests.dataflows.streams import query
from tests.faults.kafka_place import Record, Watched
from tests.faults.scales import Scale, seeded
from tests.waiting import wait_until
from tidegate.settings import Topics

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
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    if not (BIN / "tidegate.tar").exists():
        missing("no Kubernetes for tests: run `sh tests/cluster/setup.sh`, as root")
    with node(tmp_path_factory.mktemp("node")) as ready:
        for image in ("tidegate.tar", "postgres.tar"):
            ready.load(BIN / image)
        yield ready


@pytest.fixture(scope="module")
def given(kubernetes: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with outside(kubernetes, tmp_path_factory.mktemp("outside") / "given") as ready:
        yield ready


@pytest.fixture(scope="module")
def release(
    kubernetes: Node, given: Outside, helm: str, tmp_path_factory: pytest.TempPathFactory
) -> Release:
    prepare(kubernetes, given, tmp_path_factory.mktemp("release"))
    made = Release(kubernetes, helm)
    made.install("kafka")
    return made


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


@dataclass(kw_only=True)
class Released(Watched):
    """A run that is a release in a cluster."""

    release: Release

    def said(self) -> str:
        return self.release.said()[-20000:]

    def stop(self) -> None:
        self.release.kubectl("delete", "deployment", "tidegate-member", "--ignore-not-found")
        self.release.kubectl("scale", "statefulset", "tidegate-flow", "--replicas=0")
        self.release.kubectl(
            "wait", "--for=delete", "pod/tidegate-flow-0", "--timeout=90s", seconds=120
        )

    def kill_flow(self) -> None:
        """The first process of its container is killed; the kubelet starts another."""
        generation = self.generation()
        self.release.node.kill(container(self.release.pods("flow")[0]))
        self.recovered(after=generation)

    def replace_flow(self) -> None:
        """Its pod is deleted in order, as when a node is emptied."""
        generation = self.generation()
        self.release.kubectl("delete", "pod", "tidegate-flow-0", seconds=120)
        self.recovered(after=generation)

    def install(self, values: str, *settings: str) -> None:
        """An upgrade that changes who works."""
        generation = self.generation()
        self.release.install(values, *settings)
        self.recovered(after=generation)

    def become(self, workers: int) -> None:
        """So many pods with a worker each; returns when they decide."""
        generation = self.generation()
        self.release.kubectl("scale", "deployment", "tidegate-member", f"--replicas={workers - 1}")
        self._working(workers, generation)

    def kill_member(self) -> None:
        """One is gone without a word, and the cluster makes another."""
        generation, workers = self.generation(), self.workers()
        self._delete(self.release.pods("member")[0])
        self._working(workers, generation)

    def cut_off_member(self) -> None:
        """One loses its network and says nothing more, not even to the database, whose locks it
        may hold. The others go on without it."""
        generation, workers = self.generation(), self.workers()
        pod = self.release.pods("member")[0]
        self.release.node.cut_off(container(pod))
        self._working(workers - 1, generation)
        generation = self.generation()
        self._delete(pod)
        self._working(workers, generation)

    def workers(self) -> int:
        """How many there are to be."""
        return len(self.release.pods("member")) + 1

    def _delete(self, pod: Any) -> None:
        name = pod["metadata"]["name"]
        self.release.kubectl("delete", "pod", name, "--grace-period=0", "--force")

    def _working(self, workers: int, after: int) -> None:
        """Waits until so many work, in a later generation, and decide."""
        wait_until(lambda: self.working(after) == workers, 120, self.said)
        self.recovered(after=self.generation() - 1)


def container(pod: Any) -> str:
    (status,) = pod["status"]["containerStatuses"]
    return str(status["containerID"])


@pytest.fixture
def place(release: Release, given: Outside) -> Iterator[Released]:
    # The defaults' names, which the flow made when it started.
    topics = Topics()
    made = Released(
        database=given.database,
        broker=given.broker,
        topics=topics,
        traffic=SCALE.traffic(seeded()),
        release=release,
    )
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

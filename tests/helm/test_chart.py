"""The chart: what it renders is what Kubernetes takes, and what a security team asks for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import tidegate
from tests.helm.exposed import SERIES, asked
from tidegate import embedded
from tidegate.settings import Settings

CHART = Path(__file__).parents[2] / "helm" / "tidegate"
GIVEN = sorted((CHART / "ci").glob("*-values.yaml"))
NAMES = [path.stem.removesuffix("-values") for path in GIVEN]
VERSIONS = ("1.29.0", "1.33.0", "1.37.0")
# The Prometheus operator's and KEDA's, which Kubernetes itself has no schema of.
CUSTOM = ("PodMonitor", "ServiceMonitor", "PrometheusRule", "ScaledObject")
INGRESS = "secret.name=s,ingress.enabled=true,api.proxies={10.0.0.0/8}"
MEMBERS = "secret.name=s,members.enabled=true"
ADDRESS = ("--address", "$(POD_IP):2101", "--name", "$(POD_NAME)")
DATABASE = "postgresql://tidegate@database/tidegate"

Resource = dict[str, Any]


def run(helm: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [helm, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def rendered(helm: str, *arguments: str) -> list[Resource]:
    told = run(
        helm, "template", "it", str(CHART), "--namespace", "payments",
        "--kube-version", "1.33.0", *arguments,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return [resource for resource in yaml.safe_load_all(told.stdout) if resource is not None]


@pytest.fixture(params=GIVEN, ids=NAMES)
def resources(request: pytest.FixtureRequest, helm: str) -> list[Resource]:
    return rendered(helm, "--values", str(request.param))


def pods(resources: Sequence[Resource]) -> Iterator[tuple[str, Resource]]:
    """The specification of every pod that the resources lead to."""
    for resource in resources:
        spec = resource.get("spec", {})
        name = f"{resource['kind']} {resource['metadata']['name']}"
        if resource["kind"] == "Pod":
            yield name, spec
        elif resource["kind"] == "CronJob":
            yield name, spec["jobTemplate"]["spec"]["template"]["spec"]
        elif "template" in spec:
            yield name, spec["template"]["spec"]


def containers(resources: Sequence[Resource]) -> Iterator[tuple[str, Resource]]:
    for name, pod in pods(resources):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield f"{name}, {container['name']}", container


def one(resources: Sequence[Resource], kind: str, end: str = "") -> Resource:
    found = [
        resource
        for resource in resources
        if resource["kind"] == kind and resource["metadata"]["name"].endswith(end)
    ]
    assert len(found) == 1, f"{len(found)} of {kind} {end}"
    return found[0]


@pytest.mark.parametrize("given", GIVEN, ids=NAMES)
def test_helm_finds_nothing_to_say_of_it(helm: str, given: Path) -> None:
    told = run(helm, "lint", "--strict", str(CHART), "--values", str(given))
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_all_of_it(resources: list[Resource], version: str) -> None:
    for resource in resources:
        if resource["kind"] not in CUSTOM:
            kubernetes_validate.validate(resource, version, strict=True)


def test_no_pod_has_more_rights_than_it_needs(resources: list[Resource]) -> None:
    for name, pod in pods(resources):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        context = pod["securityContext"]
        assert context["runAsNonRoot"], name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        assert all("hostPath" not in volume for volume in pod.get("volumes", ())), name
    for name, container in containers(resources):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name


def test_every_container_asks_for_what_it_takes_and_is_bounded(resources: list[Resource]) -> None:
    for name, container in containers(resources):
        asked = container["resources"]
        assert {"cpu", "memory"} <= asked["requests"].keys(), name
        assert "memory" in asked["limits"], name


def test_secrets_come_by_reference_only(resources: list[Resource]) -> None:
    assert not [resource for resource in resources if resource["kind"] == "Secret"]
    hidden = {"TIDEGATE_DATABASE_URL", "TIDEGATE_KAFKA_CONFIG", "TIDEGATE_SECRET_KEY"}
    for name, container in containers(resources):
        for variable in container.get("env", ()):
            if variable["name"] in hidden:
                assert "secretKeyRef" in variable["valueFrom"], name


def test_every_setting_is_one_that_the_program_takes(resources: list[Resource]) -> None:
    for name, container in containers(resources):
        given = {
            variable["name"]: variable.get("value", DATABASE)
            for variable in container.get("env", ())
        }
        given.pop("TIDEGATE_KAFKA_CONFIG", None)
        given.pop("TIDEGATE_SECRET_KEY", None)
        Settings.from_environ(given)  # raises SettingError
        assert "command" in container or given, name


def test_every_selector_finds_the_pods_that_it_is_for(resources: list[Resource]) -> None:
    labels = [
        resource["spec"]["template"]["metadata"]["labels"]
        for resource in resources
        if resource["kind"] in ("Deployment", "StatefulSet")
    ]
    for resource in resources:
        if resource["kind"] == "Service":
            chosen = [of for of in labels if resource["spec"]["selector"].items() <= of.items()]
            assert len(chosen) == 1, resource["metadata"]["name"]


def test_all_pods_are_closed_to_what_is_not_listed(resources: list[Resource]) -> None:
    policy = one(resources, "NetworkPolicy", "tidegate")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"]
    assert all("ports" in rule for rule in policy["spec"]["egress"])
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    for resource in resources:
        spec = resource.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template is not None:
            assert chosen.items() <= template["metadata"]["labels"].items()


def test_the_way_to_the_collector_is_open_where_there_is_one(helm: str) -> None:
    url = "https://collector:4318/v1/traces"
    for given, wanted in (("secret.name=s", set()), (f"secret.name=s,tracing.url={url}", {url})):
        made = rendered(helm, "--set", given)
        policy = one(made, "NetworkPolicy", "tidegate")
        open_to = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        assert (4318 in open_to) == bool(wanted)
        told = {
            entry.get("value")
            for _, pod in pods(made)
            for container in pod["containers"]
            for entry in container.get("env", [])
            if entry["name"] == "TIDEGATE_TRACES_URL"
        }
        assert told == wanted


def test_a_backup_can_be_restored_and_the_newest_stay(
    helm: str, database: str, tmp_path: Path
) -> None:
    values = "secret.name=s,backup.enabled=true,backup.claim=c,backup.keep=2"
    job = one(rendered(helm, "--set", values), "CronJob", "backup")
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    env = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    env |= {
        "BACKUPS": str(tmp_path),
        "TIDEGATE_DATABASE_URL": database,
        "PATH": f"{embedded.programs()}:{os.environ['PATH']}",
    }
    (tmp_path / "part-of-one-that-was-killed.dump").touch()
    for number in range(3):
        (tmp_path / f"tidegate-2026010{number}T000000Z.dump").touch()
    subprocess.run(container["command"], env=env, check=True, timeout=60)
    old, new = sorted(tmp_path.iterdir())
    assert old.name == "tidegate-20260102T000000Z.dump"
    told = subprocess.run(
        ["pg_restore", "--list", new], env=env, capture_output=True, text=True, check=True
    )
    assert "TABLE DATA public alembic_version" in told.stdout
    env["TIDEGATE_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    assert subprocess.run(container["command"], env=env, check=False, timeout=60).returncode != 0
    assert {old, new} <= set(tmp_path.iterdir())  # one that fails takes nothing away


def test_the_schema_is_there_before_what_needs_it(resources: list[Resource]) -> None:
    migrate = one(resources, "Job", "migrate")
    assert migrate["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    for kind, end in (("Deployment", "api"), ("StatefulSet", "flow")):
        pod = one(resources, kind, end)["spec"]["template"]["spec"]
        assert [first["args"] for first in pod["initContainers"]] == [["migrate", "--check"]]


def test_the_job_that_migrates_may_reach_the_database_before_the_rest_is_there(
    resources: list[Resource],
) -> None:
    job, policy = one(resources, "Job", "migrate"), one(resources, "NetworkPolicy", "migrate")
    hooks = [resource["metadata"]["annotations"]["helm.sh/hook"] for resource in (job, policy)]
    assert hooks[0] == hooks[1]
    assert int(policy["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0  # before the job
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    assert chosen.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    (rule,) = policy["spec"]["egress"]
    assert {port["port"] for port in rule["ports"]} == {53, 5432}


def test_the_flow_keeps_its_state_and_has_time_for_a_last_snapshot(
    resources: list[Resource],
) -> None:
    flow = one(resources, "StatefulSet", "flow")["spec"]
    (claim,) = flow["volumeClaimTemplates"]
    pod = flow["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert flow["replicas"] == 1
    assert mounts[claim["metadata"]["name"]] == "/var/lib/tidegate"
    assert pod["terminationGracePeriodSeconds"] >= 60


def test_each_worker_has_its_port_for_metrics(helm: str) -> None:
    made = rendered(
        helm, "--set", "secret.name=s,flow.workers=3,monitoring.enabled=true"
    )  # fmt: skip
    pod = one(made, "StatefulSet", "flow")["spec"]["template"]["spec"]
    ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
    assert ports == {"metrics-0": 9100, "metrics-1": 9101, "metrics-2": 9102}
    (rule,) = one(made, "NetworkPolicy", "flow")["spec"]["ingress"]
    assert (rule["ports"][0]["port"], rule["ports"][0]["endPort"]) == (9100, 9102)
    scraped = one(made, "PodMonitor", "flow")["spec"]["podMetricsEndpoints"]
    assert [endpoint["port"] for endpoint in scraped] == list(ports)


def test_pods_of_members_join_the_flow_and_keep_nothing(helm: str) -> None:
    made = rendered(helm, "--set", f"{MEMBERS},members.replicas=3")
    leader = one(made, "StatefulSet", "flow")["spec"]["template"]["spec"]["containers"][0]
    members = one(made, "Deployment", "member")["spec"]
    pod = members["template"]["spec"]
    member = pod["containers"][0]
    assert members["replicas"] == 3
    assert leader["args"] == ["supervise", *ADDRESS]
    assert member["args"] == ["supervise", "--join", *ADDRESS]
    assert leader["env"] == member["env"]  # or the leader would leave them out
    assert all("persistentVolumeClaim" not in volume for volume in pod["volumes"])


def test_links_between_workers_are_open_to_workers_alone(helm: str) -> None:
    made = rendered(helm, "--set", MEMBERS)
    opening = [
        (policy["metadata"]["name"], rule)
        for policy in made
        if policy["kind"] == "NetworkPolicy"
        for rule in policy["spec"].get("ingress", ())
        if any(port["port"] == 2101 for port in rule["ports"])
    ]
    ((name, rule),) = opening
    assert name.endswith("workers")
    peers = [{"key": "app.kubernetes.io/component", "operator": "In", "values": ["flow", "member"]}]
    policy = one(made, "NetworkPolicy", "workers")["spec"]
    assert policy["podSelector"]["matchExpressions"] == peers
    assert [source["podSelector"]["matchExpressions"] for source in rule["from"]] == [peers]
    assert [rule["to"] for rule in policy["egress"]] == [rule["from"]]
    for resource in rendered(helm, "--set", "secret.name=s"):
        assert "2101" not in yaml.safe_dump(resource)


@pytest.mark.parametrize("prometheus", ["", "http://prometheus:9090"])
def test_members_scale_by_cpu_or_by_the_backlog(helm: str, prometheus: str) -> None:
    scaling = "members.autoscaling.enabled=true,members.autoscaling.lag.prometheus="
    made = rendered(helm, "--set", f"{MEMBERS},{scaling}{prometheus}")
    assert "replicas" not in one(made, "Deployment", "member")["spec"]
    kind = "ScaledObject" if prometheus else "HorizontalPodAutoscaler"
    spec = one(made, kind, "member")["spec"]
    assert spec["scaleTargetRef"]["name"] == "it-tidegate-member"
    if prometheus:
        (trigger,) = spec["triggers"]
        assert asked(trigger["metadata"]["query"]) == {"tidegate_consumer_lag"}
        assert SERIES.issuperset({"tidegate_consumer_lag"})


def test_its_version_is_the_programs(helm: str) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == tidegate.__version__


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("", "/secret/name"),
        ("secret.name=s,flow.worker=2", "flow"),
        ("secret.name=s,flow.shards=65", "/flow/shards"),
        ("secret.name=s,flow.workers=5,flow.shards=4", "at most as many as flow.shards"),
        (f"{MEMBERS},flow.workers=2", "with members.enabled each pod has one worker"),
        (f"{MEMBERS},networkPolicy.enabled=false", "members.enabled needs networkPolicy.enabled"),
        (f"{MEMBERS},members.replicas=4", "at most one less than flow.shards, 4"),
        (
            f"{MEMBERS},members.autoscaling.enabled=true,members.autoscaling.maxReplicas=4",
            "at most one less than flow.shards, 4",
        ),
        (
            f"{MEMBERS},members.autoscaling.enabled=true,members.autoscaling.minReplicas=4",
            "members.autoscaling.minReplicas is 4",
        ),
        ("secret.name=s,settings.TIDEGATE_DATABASE_URL=postgresql://x", "TIDEGATE_DATABASE_URL"),
        ("secret.name=s,settings.LOG_LEVEL=debug", "LOG_LEVEL"),
        ("secret.name=s,settings.TIDEGATE_TRACES_URL=http://x", "TIDEGATE_TRACES_URL"),
        ("secret.name=s,tracing.url=collector:4318", "/tracing/url"),
        ("secret.name=s,backup.enabled=true", "backup.claim"),
        ("secret.name=s,backup.keep=0", "/backup/keep"),
        ("secret.name=s,tracing.share=2", "/tracing/share"),
        ("secret.name=s,kafka.brokers={kafka}", "/kafka/brokers/0"),
        (f"{INGRESS},ingress.host=h", "ingress.tlsSecret is needed"),
        (f"{INGRESS},ingress.host=h,api.proxies=null", "api.proxies: the networks of the ingress"),
        ("secret.name=s,api.proxies={everybody}", "/api/proxies/0"),
        (
            "secret.name=s,api.autoscaling.enabled=true,api.autoscaling.minReplicas=7",
            "at most maxReplicas",
        ),
        ("secret.name=s,networkPolicy.metricsFrom=", "/networkPolicy/metricsFrom"),
    ],
)
def test_what_cannot_work_is_refused_by_its_name(helm: str, values: str, told: str) -> None:
    answer = run(
        helm, "template", "it", str(CHART), "--kube-version", "1.33.0",
        *(["--set", values] if values else []),
    )  # fmt: skip
    assert answer.returncode != 0
    assert told in answer.stderr

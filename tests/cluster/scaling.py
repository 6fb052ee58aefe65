"""What scales pods by themselves: metrics-server, which tells how busy they are, and KEDA, which
asks a Prometheus. Their programs run on the node beside its other parts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.certificates import certificate
from tests.cluster.node import ADDRESS, NAME, Node
from tests.cluster.parts import BIN
from tests.cluster.release import NAMESPACE, Release
from tests.cluster.services import lead_here
from tests.faults.prometheus import watching

METRICS, ADAPTER, OPERATOR, PROMETHEUS = 4443, 4444, 4445, 9090  # ports

_OFFERED = """\
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1beta1.{group}}}
spec:
  group: {group}
  version: v1beta1
  service: {{name: {name}, namespace: kube-system, port: {port}}}
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 100
  versionPriority: 100
"""


def by_cpu(node: Node) -> None:
    """The cluster knows how busy its pods are."""
    node.parts.start(
        "metrics-server",
        *_offering(node, METRICS),
        f"--kubeconfig={node.kubeconfig}",
        f"--cert-dir={node.directory}/metrics",
        "--kubelet-preferred-address-types=InternalIP",
        "--kubelet-insecure-tls",
        "--metric-resolution=15s",
    )
    _offer(node, "metrics.k8s.io", "metrics-server", METRICS)
    node.parts.wait(lambda: NAME in node.kubectl("top", "nodes"), "figures of metrics-server")


def by_lag(node: Node) -> None:
    """The cluster follows KEDA's ScaledObjects."""
    node.kubectl("create", "-f", str(BIN / "crds"))
    keys = node.directory / "keda"
    keys.mkdir()
    own = certificate("keda")  # of both to each other
    for name, content in (("ca.crt", own.pem), ("tls.crt", own.pem), ("tls.key", own.key)):
        (keys / name).write_bytes(content)
    env = {
        "KUBECONFIG": str(node.kubeconfig),
        "POD_NAMESPACE": "kube-system",
        "KEDA_CLUSTER_OBJECT_NAMESPACE": "kube-system",
        "WATCH_NAMESPACE": "",  # all
    }
    node.parts.start(
        "operator",
        "--enable-prometheus-metrics=false",
        "--health-probe-bind-address=0",
        f"--metrics-service-bind-address=127.0.0.1:{OPERATOR}",
        f"--cert-dir={keys}",
        **env,
    )
    node.parts.start(
        "adapter",
        *_offering(node, ADAPTER),
        f"--lister-kubeconfig={node.kubeconfig}",
        "--port=0",
        f"--metrics-service-address=127.0.0.1:{OPERATOR}",
        "--metrics-service-grpc-authority=keda",
        f"--cert-dir={keys}",
        f"--tls-cert-file={keys}/tls.crt",
        f"--tls-private-key-file={keys}/tls.key",
        **env,
    )
    _offer(node, "external.metrics.k8s.io", "keda", ADAPTER)
    path = "/apis/external.metrics.k8s.io/v1beta1"
    node.parts.wait(lambda: bool(node.kubectl("get", "--raw", path)), "KEDA")


def _offering(node: Node, port: int) -> tuple[str, ...]:
    """Of a part that answers for the API server: where, and who may ask it."""
    return (
        f"--bind-address={ADDRESS}",
        f"--secure-port={port}",
        f"--authentication-kubeconfig={node.kubeconfig}",
        f"--authorization-kubeconfig={node.kubeconfig}",
    )


def _offer(node: Node, group: str, name: str, port: int) -> None:
    lead_here(node, "kube-system", name, port)
    node.kubectl("apply", "-f", "-", given=_OFFERED.format(group=group, name=name, port=port))


@contextmanager
def prometheus_of(release: Release, program: str, directory: Path) -> Iterator[str]:
    """URL of a Prometheus that scrapes the pods of the flow, as the chart's PodMonitor asks for."""
    # Debian's is built without the means to ask a cluster for its pods.
    targets, stop = directory / "targets.json", threading.Event()

    def follow() -> None:
        while not stop.wait(1):
            with suppress(AssertionError):  # a busy API server
                targets.write_text(json.dumps(_targets(release)))

    found = [{"files": [str(targets)], "refresh_interval": "5s"}]
    config = {"scrape_configs": [{"job_name": "flow", "file_sd_configs": found}]}
    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        place = f"{ADDRESS}:{PROMETHEUS}"
        with watching(program, place, config, directory / "prometheus"):
            yield f"http://{place}"
    finally:
        stop.set()
        follower.join()


def _targets(release: Release) -> list[dict[str, object]]:
    return [
        {
            "targets": [f"{pod['status']['podIP']}:9100"],
            "labels": {"namespace": NAMESPACE, "pod": pod["metadata"]["name"]},
        }
        for part in ("flow", "member")
        for pod in release.pods(part)
        if "podIP" in pod["status"]
    ]

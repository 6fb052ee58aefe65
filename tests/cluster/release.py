"""Tidegate as a release of its chart in a cluster, as docs/operations/deploy.md has it made."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.node import NAME, Node
from tests.cluster.outside import Outside

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "tidegate"
NAMESPACE = "payments"
VALUES = Path(__file__).with_name("values.yaml")
PATIENCE = "300s"

_VOLUME = """\
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 20Gi}}
  accessModes: [ReadWriteOnce]
  storageClassName: here
  persistentVolumeReclaimPolicy: Retain
  local: {{path: {path}}}
  nodeAffinity:
    required:
      nodeSelectorTerms:
        - matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{node}]}}]
---
"""

_CLASS = """\
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: here
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---
"""

_CLAIM = f"""\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: tidegate-backups, namespace: {NAMESPACE}}}
spec:
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 1Gi}}}}
"""


@dataclass(frozen=True)
class Release:
    """The release `tidegate`. helm: the command."""

    node: Node
    helm: str

    def install(self, values: str, *settings: str) -> None:
        """Installs or upgrades it with one of the chart's sets of values, and waits until all of
        it is ready. settings: name=value each."""
        self.node.run(
            *(self.helm, "upgrade", "--install", "tidegate", str(CHART)),
            *("--namespace", NAMESPACE, "--wait", "--timeout", PATIENCE),
            *("--values", str(CHART / "ci" / f"{values}-values.yaml"), "--values", str(VALUES)),
            *(word for setting in settings for word in ("--set", setting)),
            seconds=400,
        )

    def kubectl(self, *words: str, given: str | None = None, seconds: float = 60.0) -> str:
        """In the namespace of the release."""
        command = ("--namespace", NAMESPACE, *words)
        return self.node.kubectl(*command, given=given, seconds=seconds)

    def pods(self, part: str) -> list[dict[str, Any]]:
        """Of that component, as the cluster describes them."""
        told = self.kubectl("get", "pods", "-l", f"app.kubernetes.io/component={part}", "-o=json")
        found: list[dict[str, Any]] = json.loads(told)["items"]
        return found

    def said(self) -> str:
        """What there is and the last lines of each pod, for a test that fails."""
        return self.kubectl("get", "pods", "-o", "wide") + self.kubectl(
            *("logs", "--selector", "app.kubernetes.io/instance=tidegate", "--prefix"),
            *("--all-containers", "--tail", "60", "--ignore-errors"),
        )


def prepare(node: Node, outside: Outside, directory: Path) -> None:
    """What a platform has before a release: volumes, a namespace that lets no pod be privileged,
    and the secrets."""
    volumes = ""
    for number in range(3):
        place = directory / f"volume-{number}"
        place.mkdir(parents=True)
        volumes += _VOLUME.format(name=f"here-{number}", path=place, node=NAME)
    node.kubectl("create", "namespace", NAMESPACE)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    node.kubectl("label", "namespace", NAMESPACE, restricted)
    node.kubectl("apply", "-f", "-", given=_CLASS + volumes + _CLAIM)
    key = secrets.token_urlsafe(32) + "="
    config, trusted = directory / "kafka.json", directory / "ca.crt"
    config.write_text(json.dumps(outside.kafka_config))
    trusted.write_bytes(outside.certificates)
    secret = ("--namespace", NAMESPACE, "create", "secret", "generic")
    node.kubectl(
        *(*secret, "tidegate", "--from-literal", f"database-url={outside.database_url}"),
        *("--from-file", f"kafka-config={config}", "--from-literal", f"secret-key={key}"),
    )
    node.kubectl(*secret, "tidegate-ca", "--from-file", f"ca.crt={trusted}")

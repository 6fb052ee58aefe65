"""Servers on this machine that are services of the cluster."""

from __future__ import annotations

from tests.cluster.node import ADDRESS, Node

_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  ports: [{{port: {port}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}
  namespace: {namespace}
  labels: {{kubernetes.io/service-name: {name}}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints: [{{addresses: [{address}]}}]
"""


def lead_here(node: Node, namespace: str, name: str, port: int) -> None:
    """`name.namespace:port` leads to who listens at that port of the node's address."""
    made = _SERVICE.format(namespace=namespace, name=name, port=port, address=ADDRESS)
    node.kubectl("apply", "-f", "-", given=made)

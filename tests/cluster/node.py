"""A Kubernetes of one node on this machine, of its real parts: etcd, API server, controllers,
scheduler, kubelet, proxy, containerd, names (CoreDNS) and network policies (kube-router).

It is for root on Linux, and for tests: whoever runs on this machine may ask its kubelet, and the
one who has its token may do anything. What it takes of the machine (two interfaces, their rules in
iptables, mounts) is gone at the end but for kube-router's empty chains.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.certificates import certificate
from tests.cluster import containers
from tests.cluster.containers import ctr, end_all
from tests.cluster.parts import BIN, Parts

NAME = "node"
ADDRESS = "10.99.0.1"  # of the node; pods reach servers there
PODS = "10.98.0.0/24"
SERVICES = "10.97.0.0/16"
NAMES = "10.97.0.10"  # of CoreDNS
API = 6443

_INTERFACE, _BRIDGE = "tgnode0", "tgpods0"

_NETWORK = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": _BRIDGE,
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}

_KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "address": ADDRESS,
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs",
    "clusterDNS": [NAMES],
    "clusterDomain": "cluster.local",
    "enforceNodeAllocatable": [],
    "evictionHard": {"nodefs.available": "1%"},
    "failSwapOn": False,
    "imageGCHighThresholdPercent": 100,
    "oomScoreAdj": 0,  # a container may not be allowed less
}

_COREFILE = f"""\
.:53 {{{{
    bind {{address}}
    errors
    kubernetes cluster.local {{{{
        endpoint https://127.0.0.1:{API}
        kubeconfig {{kubeconfig}}
    }}}}
    cache 5
}}}}
"""


@dataclass(frozen=True)
class Node:
    """It runs. kubeconfig: of one who may do anything."""

    directory: Path
    kubeconfig: Path
    parts: Parts

    def kubectl(self, *words: str, given: str | None = None, seconds: float = 60.0) -> str:
        """What it printed. given: its standard input."""
        return self.run(str(BIN / "kubectl"), *words, given=given, seconds=seconds)

    def run(self, *words: str, given: str | None = None, seconds: float = 60.0) -> str:
        """Of a command that reads KUBECONFIG. Raises AssertionError when it fails."""
        done = subprocess.run(
            words,
            input=given,
            env=os.environ | {"KUBECONFIG": str(self.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def kill(self, container: str) -> None:
        """SIGKILL to its first process, as when a node runs out of memory. container: its
        `containerID` in a pod's status."""
        ctr(self.directory, "tasks", "kill", "--signal", "KILL", container.partition("//")[2])

    def cut_off(self, container: str) -> None:
        """Takes a container's network away, as when a cable is pulled: nobody is told."""
        listed = ctr(self.directory, "tasks", "list").split()
        pid = listed[listed.index(container.partition("//")[2]) + 1]
        words = ["nsenter", "--target", pid, "--net", "ip", "link", "set", "eth0", "down"]
        subprocess.run(words, check=True)

    def load(self, archive: Path) -> None:
        """Gives containerd the images of an archive."""
        ctr(self.directory, "images", "import", str(archive))


@contextmanager
def node(directory: Path) -> Iterator[Node]:
    """One that is ready for pods, in that directory; gone at the end."""
    with ExitStack() as made:
        made.callback(shutil.rmtree, directory / "containers", ignore_errors=True)  # gigabytes
        parts = Parts(directory, made)
        _prepare(directory, made)
        kubeconfig = _kubeconfig(directory)
        ask = Node(directory, kubeconfig, parts)
        _etcd(parts)
        _api_server(parts)
        parts.wait(lambda: ask.kubectl("get", "--raw", "/readyz") == "ok", "API server")
        config = f"--kubeconfig={kubeconfig}"
        parts.start(
            "kube-controller-manager",
            config,
            "--use-service-account-credentials",
            f"--service-account-private-key-file={directory}/accounts.key",
            "--allocate-node-cidrs",
            f"--cluster-cidr={PODS}",
            "--node-cidr-mask-size=24",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        )
        parts.start("kube-scheduler", config, "--leader-elect=false", "--bind-address=127.0.0.1")
        containers.start(parts)
        made.callback(end_all, directory)
        ask.load(BIN / "pause.tar")
        parts.start(
            "kubelet",
            config,
            f"--config={directory}/kubelet.json",
            f"--root-dir={directory}/kubelet",
            f"--hostname-override={NAME}",
            f"--node-ip={ADDRESS}",
        )
        parts.start(
            "kube-proxy",
            config,
            f"--hostname-override={NAME}",
            f"--cluster-cidr={PODS}",
            "--bind-address=127.0.0.1",
            "--conntrack-max-per-core=0",
        )
        parts.wait(lambda: "True" in ask.kubectl(*_READY), "node")
        parts.start(
            "kube-router",
            config,
            "--run-router=false",
            "--run-service-proxy=false",
            "--run-firewall=true",
            f"--hostname-override={NAME}",
            f"--service-cluster-ip-range={SERVICES}",
            "--metrics-port=0",
        )
        _names(parts, ask)
        yield ask


_READY = ("get", "node", NAME, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}")


def _prepare(directory: Path, made: ExitStack) -> None:
    """Interfaces, keys and files."""
    for interface in (_INTERFACE, _BRIDGE):  # of one that was killed
        subprocess.run(["ip", "link", "delete", interface], capture_output=True, check=False)
        made.callback(
            subprocess.run, ["ip", "link", "delete", interface], capture_output=True, check=False
        )
    for words in (
        ["link", "add", _INTERFACE, "type", "bridge"],
        ["address", "add", f"{ADDRESS}/32", "dev", _INTERFACE],
        ["address", "add", f"{NAMES}/32", "dev", _INTERFACE],
        ["link", "set", _INTERFACE, "up"],
    ):
        subprocess.run(["ip", *words], check=True)
    for setting in ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables"):
        Path("/proc/sys/net", setting).write_text("1")
    (directory / "net.d").mkdir(parents=True)
    (directory / "net.d" / "pods.conflist").write_text(json.dumps(_NETWORK))
    (directory / "resolv.conf").write_text("")
    kubelet = _KUBELET | {
        "containerRuntimeEndpoint": f"unix://{directory}/containerd.sock",
        "resolvConf": str(directory / "resolv.conf"),
    }
    (directory / "kubelet.json").write_text(json.dumps(kubelet))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (directory / "accounts.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def _kubeconfig(directory: Path) -> Path:
    """Writes it, and the token of the one who may do anything."""
    token = secrets.token_hex(16)
    (directory / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    # The API server makes its certificate itself, and nobody else listens at that port.
    cluster = {"server": f"https://127.0.0.1:{API}", "insecure-skip-tls-verify": True}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": NAME,
        "clusters": [{"name": NAME, "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": "admin"}}],
    }
    path = directory / "kubeconfig"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path


def _etcd(parts: Parts) -> None:
    store = f"http://127.0.0.1:{API + 1}"
    parts.start(
        "etcd",
        f"--data-dir={parts.directory}/etcd",
        f"--listen-client-urls={store}",
        f"--advertise-client-urls={store}",
        f"--listen-peer-urls=http://127.0.0.1:{API + 2}",
        "--unsafe-no-fsync",
    )


def _api_server(parts: Parts) -> None:
    key = parts.directory / "accounts.key"
    # By which those know it who answer for a part of the API, and believe it who asks.
    front, own = parts.directory / "front", certificate("front")
    front.with_suffix(".crt").write_bytes(own.pem)
    front.with_suffix(".key").write_bytes(own.key)
    parts.start(
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{API + 1}",
        f"--secure-port={API}",
        f"--advertise-address={ADDRESS}",
        f"--cert-dir={parts.directory}/certificates",
        f"--token-auth-file={parts.directory}/tokens.csv",
        "--authorization-mode=RBAC",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-cluster-ip-range={SERVICES}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--enable-aggregator-routing",
        f"--proxy-client-cert-file={front}.crt",
        f"--proxy-client-key-file={front}.key",
        f"--requestheader-client-ca-file={front}.crt",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    )


def _names(parts: Parts, ask: Node) -> None:
    """CoreDNS, which listens on the node itself at the address that pods are told."""
    corefile = parts.directory / "Corefile"
    corefile.write_text(_COREFILE.format(address=NAMES, kubeconfig=ask.kubeconfig))
    parts.start("coredns", "-conf", str(corefile))

    def answers() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((NAMES, 53)) == 0

    parts.wait(answers, "CoreDNS")

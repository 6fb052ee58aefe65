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
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.kafka.broker import DIE_WITH_PARENT

HERE = Path(__file__).parent
BIN = HERE / "bin"  # that setup.sh fills
NAME = "node"
ADDRESS = "10.99.0.1"  # of the node; pods reach servers there
PODS = "10.98.0.0/24"
SERVICES = "10.97.0.0/16"
NAMES = "10.97.0.10"  # of CoreDNS
API = 6443
PAUSE = "localhost/pause:1"
PATIENCE = 120.0  # seconds until each part must have started

_INTERFACE, _BRIDGE = "tgnode0", "tgpods0"

_CONTAINERD = f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{{directory}}/net.d"
"""

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
        _ctr(self.directory, "tasks", "kill", "--signal", "KILL", container.partition("//")[2])

    def cut_off(self, container: str) -> None:
        """Takes a container's network away, as when a cable is pulled: nobody is told."""
        listed = _ctr(self.directory, "tasks", "list").split()
        pid = listed[listed.index(container.partition("//")[2]) + 1]
        words = ["nsenter", "--target", pid, "--net", "ip", "link", "set", "eth0", "down"]
        subprocess.run(words, check=True)

    def load(self, archive: Path) -> None:
        """Gives containerd the images of an archive."""
        _ctr(self.directory, "images", "import", str(archive))


@contextmanager
def node(directory: Path) -> Iterator[Node]:
    """One that is ready for pods, in that directory; gone at the end."""
    with ExitStack() as made:
        parts = _Parts(directory, made)
        _prepare(directory, made)
        kubeconfig = _kubeconfig(directory)
        ask = Node(directory, kubeconfig)
        _etcd(parts)
        _api_server(parts)
        _until(lambda: ask.kubectl("get", "--raw", "/readyz") == "ok", "API server", parts)
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
        _containerd(parts)
        made.callback(_end_pods, directory)
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
        _until(lambda: "True" in ask.kubectl(*_READY), "node", parts)
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


class _Parts:
    """Programs of a node, with their logs beside each other."""

    def __init__(self, directory: Path, made: ExitStack) -> None:
        self.directory = directory
        self._made = made
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, program: str, *arguments: str) -> None:
        """Until the end; the kernel ends it when the tests die."""
        path = BIN / program
        command = [str(path) if path.exists() else program, *arguments]
        with (self.directory / f"{program}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-ISc", DIE_WITH_PARENT, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[program] = process
        self._made.callback(_end, process)

    def dead(self) -> str:
        """What those said at last that ended by themselves; empty if none did."""
        return "\n".join(
            f"{program}: {(self.directory / f'{program}.log').read_text()[-3000:]}"
            for program, process in self._running.items()
            if process.poll() is not None
        )


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
    (directory / "containerd.toml").write_text(_CONTAINERD.format(directory=directory))
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


def _etcd(parts: _Parts) -> None:
    store = f"http://127.0.0.1:{API + 1}"
    parts.start(
        "etcd",
        f"--data-dir={parts.directory}/etcd",
        f"--listen-client-urls={store}",
        f"--advertise-client-urls={store}",
        f"--listen-peer-urls=http://127.0.0.1:{API + 2}",
        "--unsafe-no-fsync",
    )


def _api_server(parts: _Parts) -> None:
    key = parts.directory / "accounts.key"
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
    )


def _containerd(parts: _Parts) -> None:
    directory = parts.directory
    parts.start(
        "containerd",
        f"--config={directory}/containerd.toml",
        f"--root={directory}/containers",
        f"--state={directory}/state",
        f"--address={directory}/containerd.sock",
    )
    _until(lambda: "Server" in _ctr(directory, "version"), "containerd", parts)


def _ctr(directory: Path, *words: str) -> str:
    command = ["ctr", "--address", f"{directory}/containerd.sock", "--namespace", "k8s.io"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ctr {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def _names(parts: _Parts, ask: Node) -> None:
    """CoreDNS, which listens on the node itself at the address that pods are told."""
    corefile = parts.directory / "Corefile"
    corefile.write_text(_COREFILE.format(address=NAMES, kubeconfig=ask.kubeconfig))
    parts.start("coredns", "-conf", str(corefile))

    def answers() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((NAMES, 53)) == 0

    _until(answers, "CoreDNS", parts)


def _until(there: Callable[[], bool], what: str, parts: _Parts) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        why = "it is not there"
        try:
            if there():
                return
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
        if dead := parts.dead():
            raise RuntimeError(dead)
        assert time.monotonic() < deadline, f"no {what} after {PATIENCE:g} s: {why}"
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_pods(directory: Path) -> None:
    """Ends all containers with their shims, and unmounts what they had."""
    with suppress(AssertionError):
        for name in _ctr(directory, "tasks", "list", "--quiet").split():
            with suppress(AssertionError):
                _ctr(directory, "tasks", "kill", "--signal", "KILL", "--all", name)
        time.sleep(1)
        for name in _ctr(directory, "containers", "list", "--quiet").split():
            with suppress(AssertionError):
                _ctr(directory, "tasks", "delete", "--force", name)
            with suppress(AssertionError):
                _ctr(directory, "containers", "delete", name)
    mark = str(directory).encode()
    for entry in Path("/proc").iterdir():  # shims hold on to their containers
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if b"containerd-shim" in words and mark in words:
                    os.kill(int(entry.name), signal.SIGKILL)
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted(mounts, reverse=True):
        if place.startswith(f"{directory}/"):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)

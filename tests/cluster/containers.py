"""A node's containers: containerd, asked by its own command."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.cluster.parts import Parts

PAUSE = "localhost/pause:1"

_CONTAINERD = f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{{directory}}/net.d"
"""


def start(parts: Parts) -> None:
    """In the node's directory; its networks are in net.d there."""
    directory = parts.directory
    (directory / "containerd.toml").write_text(_CONTAINERD.format(directory=directory))
    parts.start(
        "containerd",
        f"--config={directory}/containerd.toml",
        f"--root={directory}/containers",
        f"--state={directory}/state",
        f"--address={directory}/containerd.sock",
    )
    parts.wait(lambda: "Server" in ctr(directory, "version"), "containerd")


def ctr(directory: Path, *words: str) -> str:
    """What the command printed. Raises AssertionError when it fails."""
    command = ["ctr", "--address", f"{directory}/containerd.sock", "--namespace", "k8s.io"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ctr {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def end_all(directory: Path) -> None:
    """Ends all containers with their shims, and unmounts what they had."""
    with suppress(AssertionError):
        for name in ctr(directory, "tasks", "list", "--quiet").split():
            with suppress(AssertionError):
                ctr(directory, "tasks", "kill", "--signal", "KILL", "--all", name)
        time.sleep(1)
        for name in ctr(directory, "containers", "list", "--quiet").split():
            with suppress(AssertionError):
                ctr(directory, "tasks", "delete", "--force", name)
            with suppress(AssertionError):
                ctr(directory, "containers", "delete", name)
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

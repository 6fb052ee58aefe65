"""Machines that are network namespaces: each has its own interfaces and addresses, and reaches the
others over a bridge alone. Needs root and the `ip` of iproute2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import missing

NEEDS = "network namespaces need root and `ip` (on Debian: apt-get install iproute2)"


@dataclass(frozen=True)
class Machine:
    """One of them. address: that the others reach it at."""

    name: str
    address: str

    def command(self, *words: str) -> list[str]:
        """A command as it is run there."""
        return ["ip", "netns", "exec", self.name, *words]

    @property
    def host(self) -> str:
        """The address at which it reaches this machine."""
        return f"{self.address.rpartition('.')[0]}.1"

    def cut_off(self) -> None:
        """It loses its network, as when a cable is pulled or its power is gone: nobody is told."""
        _ip("-n", self.name, "link", "set", "eth0", "down")


def lacking() -> bool:
    """Whether something is missing that can be installed, or root."""
    return os.geteuid() != 0 or shutil.which("ip") is None


def allowed() -> bool:
    """Whether the kernel lets us make them: in a container it may not."""
    try:
        with machines(1):
            return True
    except subprocess.CalledProcessError:
        return False


def need_machines() -> None:
    """Skips the test, or fails it in CI, where they cannot be had."""
    if lacking():
        missing(NEEDS)
    if not allowed():
        pytest.skip("the kernel allows no network namespaces")


@contextmanager
def machines(number: int) -> Iterator[list[Machine]]:
    """So many, gone at the end."""
    # Several test processes may do so at once: names and networks are this one's own.
    mark, net = os.getpid() % 100_000, f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
    bridge = f"tgb{mark}"
    with ExitStack() as made:

        def make(what: Sequence[str], undo: Sequence[str]) -> None:
            _ip(*what)
            made.callback(_ip, *undo)

        make(["link", "add", bridge, "type", "bridge"], ["link", "delete", bridge])
        _ip("address", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        found: list[Machine] = []
        for index in range(number):
            machine = Machine(f"tg{mark}-{index}", f"{net}.{index + 2}")
            make(["netns", "add", machine.name], ["netns", "delete", machine.name])
            outer = f"tgv{mark}-{index}"
            _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", machine.name)
            _ip("link", "set", outer, "master", bridge, "up")
            for what in ("lo", "eth0"):
                _ip("-n", machine.name, "link", "set", what, "up")
            _ip("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", "eth0")
            found.append(machine)
        yield found


@contextmanager
def reaching(machines: Sequence[Machine], address: str, directory: Path) -> Iterator[None]:
    """Lets them reach a server that listens on this machine's loopback interface, at the same
    host:port of their own."""
    path = str(directory / "relay")
    with ExitStack() as running:
        for command in (
            _relay(path, address),
            *(machine.command(*_relay(address, path)) for machine in machines),
        ):
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            running.callback(process.wait)
            running.callback(process.kill)
        yield


def _relay(listen: str, target: str) -> list[str]:
    return [sys.executable, "-m", "tests.faults.relay", listen, target]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)

"""Debian's own PostgreSQL 17 with TimescaleDB (Apache edition), in the folder that tests/setup.sh
made: a true server, for what PGlite cannot do (COPY, several sessions).

It is started with `chroot`, hence as root, and runs as that folder's own user `postgres`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from tests.databases import ROOM, in_memory

ROOT = Path(__file__).parent / "trixie"
NEEDS = "TimescaleDB's server for tests needs root, and tests/setup.sh with debootstrap"
_PROGRAMS = "/usr/lib/postgresql/17/bin"
_START_SECONDS = 60
_STOP_SECONDS = 60

# It is gone after the tests, so nothing has to reach the disk.
_SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "timescaledb.max_background_workers": "2",
    "max_worker_processes": "8",
    "max_connections": "100",
    "max_locks_per_transaction": "256",
    "dynamic_shared_memory_type": "mmap",
    "fsync": "off",
    "max_wal_size": "256MB",
    "autovacuum": "off",
    "listen_addresses": "",
    "timezone": "UTC",
}

# The data lie in memory, in a mount namespace of the server's own: nothing of it is left behind.
_MOUNT = 'mount -t tmpfs -o mode=700,uid={},gid={},size={} tidegate "$0/data"\n'
_START = """
set -e
{mount}{chroot}/initdb --pgdata "$1/data" --username=postgres --auth=trust --no-sync \\
    --encoding=UTF8 --locale=C.UTF-8
inside=$1
shift
exec {chroot}/postgres -D "$inside/data" -k "$inside" "$@"
"""


def installed() -> bool:
    """Whether it can be started here: the folder is there, and this is root."""
    return os.geteuid() == 0 and (ROOT / _PROGRAMS.lstrip("/") / "postgres").exists()


@dataclass(frozen=True)
class Tls:
    """A port on which sessions must be encrypted; certificate and key are PEM. address: of this
    machine; whoever reaches it is let in."""

    port: int
    certificate: bytes
    key: bytes
    address: str = "127.0.0.1"


@contextmanager
def server(tls: Tls | None = None) -> Iterator[str]:
    """URL of a server of this process's own, gone with all its data at the end: by its socket."""
    data = Path(tempfile.mkdtemp(prefix="tidegate-test-", dir=ROOT / "tmp"))
    inside = Path("/") / data.relative_to(ROOT)
    (data / "data").mkdir()
    for path in (data, data / "data"):
        shutil.chown(path, *_owner())
    # A socket's path may be 107 bytes long, and that of the folder may be longer.
    near = Path(tempfile.mkdtemp(prefix="tidegate-test-"))
    (near / "s").symlink_to(data)
    try:
        settings = _SETTINGS | ({} if tls is None else _secured(tls, data, inside))
        given = [f"--{name}={value}" for name, value in settings.items()]
        with (data / "log").open("w") as log:
            command = [*_start(), str(data), str(inside), *given]
            running = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            url = f"postgresql://postgres@/postgres?host={quote(str(near / 's'), safe='')}"
            url += "" if tls is None else f"&port={tls.port}"
            _wait(url, running, data / "log")
            yield url
        finally:
            running.send_signal(signal.SIGINT)  # the shell became the server; it ends all sessions
            running.wait(_STOP_SECONDS)
    finally:
        shutil.rmtree(near)
        shutil.rmtree(data)


def _secured(tls: Tls, data: Path, inside: Path) -> dict[str, str]:
    """The settings of a server that takes TLS alone, but on its socket; writes their files."""
    files = {
        "certificate.pem": tls.certificate,
        "key.pem": tls.key,
        "hba": b"local all all trust\nhostssl all all all trust\n",
    }
    for name, content in files.items():
        (data / name).write_bytes(content)
        (data / name).chmod(0o600)
        shutil.chown(data / name, *_owner())
    return {
        "listen_addresses": tls.address,
        "port": str(tls.port),
        "ssl": "on",
        "ssl_cert_file": str(inside / "certificate.pem"),
        "ssl_key_file": str(inside / "key.pem"),
        "hba_file": str(inside / "hba"),
    }


def _start() -> list[str]:
    """A command that becomes the server; wants its folder, the name of that inside, settings."""
    chroot = f"chroot --userspec=postgres:postgres {shlex.quote(str(ROOT))} {_PROGRAMS}"
    if in_memory() is None or not _may_mount():
        return ["sh", "-c", _START.format(mount="", chroot=chroot)]
    mount = _MOUNT.format(*_owner(), ROOM)
    return ["unshare", "--mount", "sh", "-c", _START.format(mount=mount, chroot=chroot)]


def _may_mount() -> bool:
    try:
        done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def _owner() -> tuple[int, int]:
    """Numbers of the folder's user `postgres`, which this machine need not have."""
    for line in (ROOT / "etc" / "passwd").read_text().splitlines():
        name, _, user, group, *_ = line.split(":")
        if name == "postgres":
            return int(user), int(group)
    raise RuntimeError(f"{ROOT} has no user postgres")


def _wait(url: str, running: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError as error:
            if running.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"it did not start: {log.read_text()}") from error
            time.sleep(0.05)
        else:
            return

"""Debian's own PostgreSQL 17 with TimescaleDB (Apache edition), in the folder that tests/setup.sh
made: a true server, for what PGlite cannot do (COPY, several sessions).

It is started with `chroot`, hence as root, and runs as that folder's own user `postgres`.
"""

from __future__ import annotations

import os
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
    "listen_addresses": "",
    "timezone": "UTC",
}


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
    shutil.chown(data, *_owner())
    # A socket's path may be 107 bytes long, and that of the folder may be longer.
    near = Path(tempfile.mkdtemp(prefix="tidegate-test-"))
    (near / "s").symlink_to(data)
    try:
        made = ["--pgdata", f"{inside}/data", "--username=postgres", "--auth=trust", "--no-sync"]
        _run("initdb", *made, "--encoding=UTF8", "--locale=C.UTF-8")
        settings = _SETTINGS | ({} if tls is None else _secured(tls, data, inside))
        given = [f"--{name}={value}" for name, value in settings.items()]
        with (data / "log").open("w") as log:
            running = subprocess.Popen(
                _command("postgres", "-D", f"{inside}/data", "-k", str(inside), *given),
                stdout=log,
                stderr=log,
            )
        try:
            url = f"postgresql://postgres@/postgres?host={quote(str(near / 's'), safe='')}"
            url += "" if tls is None else f"&port={tls.port}"
            _wait(url, running, data / "log")
            yield url
        finally:
            running.send_signal(signal.SIGINT)  # chroot became the server; it ends all sessions
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


def _command(program: str, *arguments: str) -> list[str]:
    user = ["chroot", "--userspec=postgres:postgres", str(ROOT)]
    return [*user, f"{_PROGRAMS}/{program}", *arguments]


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        _command(program, *arguments), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{program} of {ROOT} failed: {done.stderr}")


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

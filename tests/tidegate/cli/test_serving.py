"""`tidegate api` as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tidegate.cli import serving
from tidegate.settings import Settings

API = "from tidegate.cli import main; main()"
ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# As a shell starts what is not in the background, whoever started these tests: Ctrl-C is heard.
IN_FRONT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from tidegate.cli import main
main()
"""


# Ctrl-C is told as shells do.
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_and_its_embedded_database(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    port = free_port()
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", IN_FRONT, "api", "--port", f"{port}"],
            env=os.environ | {"TIDEGATE_DATA_DIR": str(tmp_path)},
            cwd=ROOT,
            stdout=said,
            stderr=said,
        )
    try:
        deadline = time.monotonic() + 120
        while not ready(port):
            assert process.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        (running,) = tmp_path.rglob("postmaster.pid")
        process.send_signal(number)
        assert process.wait(30) == code, (tmp_path / "said").read_text()
    finally:
        process.kill()
    assert not running.exists()  # PostgreSQL takes it away when it has ended well
    assert "Traceback" not in (tmp_path / "said").read_text()


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_a_signal_ends_it_at_once_although_clients_watch_alerts(
    tmp_path: Path, database: str
) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", API, "api", "--port", f"{port}"],
        env=os.environ
        | {
            "TIDEGATE_AUTH": "off",
            "TIDEGATE_DATA_DIR": str(tmp_path),
            "TIDEGATE_DATABASE_URL": database,
        },
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not ready(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        url = f"http://127.0.0.1:{port}/v1/alerts/stream"
        streams = [urllib.request.urlopen(url, timeout=20) for _ in range(3)]
        for stream in streams:
            assert stream.readline() == b"retry: 2000\n"
        process.send_signal(signal.SIGTERM)
        for stream in streams:
            # They end by themselves: open requests would be cut off after five seconds.
            assert stream.read().endswith(b": the server stops\n\n")
        process.wait(20)
    finally:
        process.kill()


@pytest.mark.parametrize(("proxies", "believed"), [("", False), ("10.1.0.0/16", True)])
def test_only_a_proxy_of_ours_is_believed_about_https(proxies: str, believed: bool) -> None:
    settings = Settings.from_environ({"TIDEGATE_PROXIES": proxies})
    config = serving._server("postgresql://nobody@/none", "127.0.0.1", 1, settings).config
    config.load()
    seen = []

    async def app(scope: Any, receive: object, send: object) -> None:
        seen.append((scope["scheme"], scope["client"][0]))

    told: Any = config.loaded_app
    while not isinstance(told, ProxyHeadersMiddleware):
        told = told.app
    told.app = app
    asked: Any = told
    headers = [(b"x-forwarded-proto", b"https"), (b"x-forwarded-for", b"192.0.2.7")]
    for client in ("10.1.2.3", "10.2.2.3", "127.0.0.1"):
        scope = {"type": "http", "scheme": "http", "client": (client, 7), "headers": headers}
        with ThreadPoolExecutor(1) as thread:  # this one may have a browser's loop
            thread.submit(anyio.run, asked, scope, None, None).result()
    through, stranger = ("https", "192.0.2.7"), "10.2.2.3"
    assert seen == [through if believed else ("http", "10.1.2.3"), ("http", stranger), through]

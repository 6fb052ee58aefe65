"""Fifty clients that watch alerts come: how late, at what cost, and whether memory grows.

Why: each client of `GET /v1/alerts/stream` is to have every alert within a moment, while the API
reads each event once. The API is the real command in a process of its own; the clients and the one
who writes the alerts share this process, and so the processors.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from urllib.request import urlopen
from uuid import UUID, uuid4

from bench import database
from bench.given import Given
from bench.live import cpu_seconds, environment, resident
from bench.report import Report, figure, say
from tidegate.store import connection

STREAMS = 50
RATE = 100  # alerts a second
SECONDS = 60.0  # of the warm-up, and again of what is measured

PUT = """
INSERT INTO alert (
    alert_id, transaction_id, event_time, card_token, terminal_id, amount_minor, currency, score,
    decision, reasons, model_version
) VALUES (
    %(id)s, %(id)s::text, now(), 'card-1', 'terminal-1', 4300, 'EUR', 0.875, 'review',
    '[{"code": "terminal_fraud_7d", "weight": 1.25, "text": "3 frauds here in 7 days"}]', 'v1'
)
"""


class Missed(RuntimeError):
    """A client did not get what it was to get."""


@dataclass
class Client:
    """What one client received: when, by the alert's id."""

    at: dict[UUID, float] = field(default_factory=dict)
    events: int = 0


def bench(given: Given) -> Report:
    """Latency from before the commit to the receipt, and the API's memory and processor time."""
    seconds = 3.0 if given.quick else SECONDS
    with (
        database.server() as server,
        database.fresh(server) as url,
        api(url, given.directory) as (process, port),
        watching(port) as clients,
    ):
        say(f"  {seconds:g} s of warm-up, and {seconds:g} s that count")
        _written(url, seconds)
        _all_received(clients)
        memory, spent = _memory(process.pid), cpu_seconds(process.pid)
        for client in clients:
            client.at.clear()
        committed = _written(url, seconds)
        _all_received(clients)
        grown, used = _memory(process.pid), cpu_seconds(process.pid) - spent
    late: list[float] = []
    for client in clients:
        if client.at.keys() != committed.keys():
            raise Missed(f"a stream has {len(client.at):,} of {len(committed):,} alerts")
        late += [1000 * (client.at[alert] - at) for alert, at in committed.items()]
    percent = quantiles(late, n=100)
    figures = [
        figure("commit to receipt, median", [percent[49]], "ms"),
        figure("commit to receipt, 99 of 100", [percent[98]], "ms"),
        figure("commit to receipt, the latest", [max(late)], "ms"),
        figure("memory after the warm-up", [memory], "MB"),
        figure("memory at the end", [grown], "MB", grown / memory, "memory after the warm-up"),
        figure("processor time of an event for a stream", [1e6 * used / len(late)], "µs"),
    ]
    notes = [
        f"{STREAMS} streams, {len(committed):,} alerts in {seconds:g} s, none missed or doubled",
        "the processors are shared with the clients, the writer and the database",
    ]
    return Report("streams", len(committed), 1, figures, notes)


@contextmanager
def api(url: str, directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The API, once it is ready, and its port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    command = "from tidegate.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "api", "--port", str(port)],
        env=environment()
        | {
            "TIDEGATE_AUTH": "off",
            "TIDEGATE_DATABASE_URL": url,
            "TIDEGATE_DATA_DIR": str(directory),
        },
        cwd=Path(__file__).parents[1],
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield process, port
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def watching(port: int) -> Iterator[list[Client]]:
    """Clients whose streams are open, in an event loop of a thread of their own."""
    clients = [Client() for _ in range(STREAMS)]
    loop = asyncio.new_event_loop()
    open_ones = threading.Semaphore(0)

    async def watch(client: Client) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        try:
            writer.write(b"GET /v1/alerts/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while line := await reader.readline():
                if line.startswith(b": from now on"):
                    open_ones.release()
                elif line.startswith(b"data: "):
                    client.events += 1
                    start = line.index(b'"alert_id":"') + 12
                    client.at[UUID(line[start : start + 36].decode())] = time.perf_counter()
        finally:
            writer.transport.abort()

    async def watch_all() -> None:
        await asyncio.gather(*(watch(client) for client in clients), return_exceptions=True)

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(watch_all())
        loop.run_until_complete(asyncio.sleep(0))  # connections that were cut are let go

    thread = threading.Thread(target=run)
    thread.start()
    for _ in clients:
        if not open_ones.acquire(timeout=30):
            raise Missed("a stream did not open")
    try:
        yield clients
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join(20)
        loop.close()


def _written(url: str, seconds: float) -> dict[UUID, float]:
    """Writes alerts, each in a transaction of its own; tells when each was about to commit."""
    committed: dict[UUID, float] = {}
    with connection.connect(url, application_name="tidegate-bench") as conn:
        begin = time.perf_counter()
        for number in range(round(seconds * RATE)):
            time.sleep(max(0.0, begin + number / RATE - time.perf_counter()))
            alert = uuid4()
            conn.execute(PUT, {"id": alert})
            committed[alert] = time.perf_counter()
            conn.commit()
    return committed


def _all_received(clients: list[Client]) -> None:
    """Waits until nothing has come for a second."""
    before = -1
    while before != (now := sum(client.events for client in clients)):
        before = now
        time.sleep(1)


def _wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError as error:
            if time.monotonic() > until:
                raise Missed(f"the API did not start: {error}") from error
            time.sleep(0.2)


def _memory(pid: int) -> float:
    return resident(pid) / 1000

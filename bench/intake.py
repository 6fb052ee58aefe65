"""Payments over HTTP, each of which waits for its decision, at a steady rate.

Why: without Kafka a payment system asks and waits. What counts is the time from the moment a
payment was due to the moment its decision has arrived, by the slowest in a hundred too, with the
API, the scoring flow, the embedded database and the sender on one machine. The peer is the same
API asked for its health, at the same rate: what HTTP alone takes.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench import database
from bench.given import Given
from bench.http_client import Answer, Connections
from bench.live import PATIENCE, cpu_seconds, end, environment
from bench.report import Figure, Report, figure, say
from dataflows.supervisor import RunFailed
from tidegate.collector import settle

RATE = 200.0  # payments a second
WARM_UP = 5.0  # seconds at that rate before those that count
CARDS, TERMINALS = 2_000, 300
_TIDEGATE = Path(sys.executable).with_name("tidegate")
_HEADERS = {"Content-Type": "application/json", "Prefer": "wait=5"}

Request = tuple[str, str, bytes]  # method, path and body


@dataclass(frozen=True)
class _Served:
    """A running API with its flow. pids: of the processes of each."""

    port: int
    pids: Callable[[], dict[str, list[int]]]

    def cpu(self) -> dict[str, float]:
        """CPU seconds that each has taken so far."""
        return {name: sum(map(cpu_seconds, pids)) for name, pids in self.pids().items()}


@dataclass(frozen=True)
class _Felt:
    """Seconds from due to answered, and what was answered."""

    seconds: np.ndarray
    answers: list[Answer]
    cpu: dict[str, float]  # CPU seconds of the API and of the flow a second


def bench(given: Given) -> Report:
    """Milliseconds from due to decided, and what that takes of the machine."""
    seconds = 5.0 if given.quick else 60.0
    count = int((WARM_UP + seconds) * RATE)
    with database.server() as server, _served(server) as served:
        say(f"  {count:,} payments at {RATE:.0f} a second")
        paid = asyncio.run(_open_loop(served, [_payment(n) for n in range(count)]))
        health: list[Request] = [("GET", "/healthz", b"")] * count
        bare = asyncio.run(_open_loop(served, health))
    wrong = [answer for answer in paid.answers if answer.status != 200]
    undecided = [a for a in paid.answers if a.status == 200 and json.loads(a.body)["score"] is None]
    if undecided:
        raise RunFailed(f"{len(undecided)} payments were called decided and are not")
    figures: list[Figure] = []
    for percent in (50, 99):
        ours, peer = (_ms(felt, percent) for felt in (paid, bare))
        name = f"/healthz, p{percent}"
        figures.append(figure(f"decision, p{percent}", [ours], "ms", ours / peer, name))
        figures.append(figure(name, [peer], "ms"))
    figures += [
        figure("not decided within 5 s, or refused", [float(len(wrong))], "payments"),
        *(
            figure(f"{name} at that rate", [100 * share], "% of a core")
            for name, share in paid.cpu.items()
        ),
    ]
    notes = [
        f"{RATE:.0f} payments a second for {seconds:.0f} s after {WARM_UP:.0f} s that are not "
        "counted, each timed from when it was due; `Prefer: wait=5`",
        "sender, API, flow and database share this machine; snapshots as by default",
    ]
    return Report("intake", count, 1, figures, notes)


def _payment(number: int) -> Request:
    body = {
        "transaction_id": f"bench-{number}",
        "event_time": "",  # when it is sent
        "amount_minor": 100 + number * 7919 % 9_900,
        "currency": "EUR",
        "card_token": f"card-{number * 7919 % CARDS}",
        "terminal_id": f"terminal-{number * 104_729 % TERMINALS}",
    }
    return "POST", "/v1/transactions", json.dumps(body).encode()


def _now(request: Request) -> Request:
    method, path, body = request
    return method, path, body.replace(b'""', f'"{datetime.now(UTC).isoformat()}"'.encode())


async def _open_loop(served: _Served, requests: list[Request]) -> _Felt:
    connections = Connections("127.0.0.1", served.port, _HEADERS)
    probe = _now(_payment(-time.monotonic_ns()))
    deadline = time.monotonic() + PATIENCE
    while (answer := await connections.send(*probe)).status != 200:
        if answer.status != 202 or time.monotonic() > deadline:
            raise RunFailed(f"status {answer.status} and no decision: {answer.body.decode()}")
    settle()  # or what is measured has pauses of the sender's own
    begin = time.monotonic() + 0.5
    felt = np.zeros(len(requests))

    async def send(number: int, request: Request) -> Answer:
        due = begin + number / RATE
        answer = await connections.send(*_now(request))
        felt[number] = time.monotonic() - due
        return answer

    tasks = []
    before, since = served.cpu(), begin
    for number, request in enumerate(requests):
        await asyncio.sleep(max(0.0, begin + number / RATE - time.monotonic()))
        tasks.append(asyncio.create_task(send(number, request)))
        if number == int(WARM_UP * RATE):
            before, since = served.cpu(), time.monotonic()
    answers = await asyncio.gather(*tasks)
    passed = time.monotonic() - since
    cpu = {name: (used - before[name]) / passed for name, used in served.cpu().items()}
    connections.close()
    first = int(WARM_UP * RATE)
    return _Felt(felt[first:], list(answers[first:]), cpu)


def _ms(felt: _Felt, percent: int) -> float:
    return float(1000 * np.percentile(felt.seconds, percent))


@contextmanager
def _served(server: str) -> Iterator[_Served]:
    """`tidegate run` and `tidegate api` over a database of their own, with default settings."""
    with ExitStack() as opened:
        url = opened.enter_context(database.fresh(server))
        directory = opened.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-bench-"))
        port = _free_port()
        env = environment() | {
            "TIDEGATE_AUTH": "off",
            "TIDEGATE_DATABASE_URL": url,
            "TIDEGATE_DATA_DIR": directory,
        }
        log = Path(directory) / "log"
        processes: dict[str, subprocess.Popen[bytes]] = {}
        for name, command in (("flow", ["run"]), ("API", ["api", "--port", str(port)])):
            with log.open("ab") as said:
                process = subprocess.Popen(
                    [_TIDEGATE, *command],
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                )
            opened.callback(end, process)
            processes[name] = process

        def pids() -> dict[str, list[int]]:
            return {name: [p.pid, *_children(p.pid)] for name, p in processes.items()}

        deadline = time.monotonic() + PATIENCE
        while not _ready(port) or len(pids()["flow"]) < 2:
            ended = any(process.poll() is not None for process in processes.values())
            if ended or time.monotonic() > deadline:
                raise RunFailed(log.read_text(errors="replace")[-2000:])
            time.sleep(0.1)
        yield _Served(port, pids)


def _children(pid: int) -> list[int]:
    return [int(found) for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port

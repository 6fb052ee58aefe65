"""A newcomer's way through docs/api.md by the real commands: from a key to a label."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.cluster import TIDEGATE
from tests.kafka.broker import free_ports

PATIENCE = 60.0  # seconds for a command to start, and for a label to come through


@pytest.fixture
def started(tmp_path: Path, database: str) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts commands over one database; ends them at the end."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "said").open("ab") as said:
            process = subprocess.Popen(
                [str(TIDEGATE), *command],
                env=environment(tmp_path, database),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.terminate()
    for process in processes:
        assert process.wait(PATIENCE) == 0, (tmp_path / "said").read_text()


def environment(directory: Path, database: str) -> dict[str, str]:
    return os.environ | {
        "TIDEGATE_DATA_DIR": str(directory / "data"),
        "TIDEGATE_DATABASE_URL": database,
        # So that the first payment of all is one to look at.
        "TIDEGATE_REVIEW_THRESHOLD": "0.001",
    }


def until(what: Callable[[], Any]) -> Any:
    """What it gives once that is something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_from_the_first_key_to_the_label_of_an_analyst(
    started: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, database: str
) -> None:
    (port,) = free_ports(1)
    started("run")
    started("api", "--port", str(port))

    def key(name: str, role: str) -> dict[str, str]:
        made = subprocess.run(
            [str(TIDEGATE), "keys", "create", "--name", name, "--role", role],
            env=environment(tmp_path, database),
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        return {"Authorization": f"Bearer {made.stdout.strip()}"}

    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

        def ready() -> bool:
            try:
                return client.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        until(ready)
        shop, ann = key("shop", "ingest"), key("ann", "analyst")
        payment = {
            "transaction_id": "order-1",
            "event_time": datetime.now(UTC).isoformat(),
            "amount_minor": 99_900,
            "currency": "EUR",
            "card_token": "card-7",
            "terminal_id": "terminal-3",
        }
        assert client.post("/v1/transactions", json=payment).status_code == 401
        waiting = {**shop, "Prefer": "wait=10"}
        answer = client.post("/v1/transactions", json=payment, headers=waiting)
        # The flow may still be starting: asked again, the payment is decided once.
        while answer.status_code == 202:
            answer = client.post("/v1/transactions", json=payment, headers=waiting)
        assert (answer.status_code, answer.json()["decision"]) == (200, "review")

        assert client.get("/v1/alerts", headers=shop).status_code == 403
        query = {"card_token": "card-7"}
        (alert,) = client.get("/v1/alerts", headers=ann, params=query).json()["data"]
        assert alert["transaction_id"] == "order-1"
        assert alert["reasons"][0]["text"] == "amount of 999.00 EUR"

        path = f"/v1/alerts/{alert['alert_id']}/disposition"
        closed = client.post(path, headers=ann, json={"outcome": "fraud", "comment": "not hers"})
        assert (closed.status_code, closed.json()["status"]) == (200, "closed")

        def labels() -> Any:
            return client.get("/v1/decisions/order-1", headers=ann).json()["labels"]

        found = until(labels)
        assert [(label["fraud"], label["source"]) for label in found] == [(True, "analyst")]
        counted = client.get("/v1/stats", headers=ann).json()["labels"]
        assert (counted["frauds"], counted["by_source"]) == (1, {"analyst": 1})

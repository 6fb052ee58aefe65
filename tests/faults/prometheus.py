"""A real Prometheus beside a run."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Prometheus:
    """A running one, asked over HTTP. address: host:port."""

    def __init__(self, address: str) -> None:
        self.address = address

    def alerts(self) -> dict[str, str]:
        """The state of each alert that is pending or fires, by name."""
        found = self._asked("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert["state"] for alert in found}

    def scrapes(self, targets: int) -> bool:
        """Whether it reads the metrics of so many, and of all that it knows."""
        try:
            found = self._asked("targets")["activeTargets"]
        except OSError:
            return False
        return [target["health"] for target in found] == ["up"] * targets

    def _asked(self, what: str) -> Any:
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{what}", timeout=10) as answer:
            return json.load(answer)["data"]


@contextmanager
def watching(
    program: str, address: str, config: Mapping[str, object], directory: Path
) -> Iterator[Prometheus]:
    """Prometheus with that configuration, at that address, its files in that directory."""
    directory.mkdir()
    given, said = directory / "prometheus.yml", directory / "log"
    often: dict[str, object] = {"global": {"scrape_interval": "2s", "evaluation_interval": "2s"}}
    given.write_text(json.dumps({**often, **config}))  # JSON is YAML
    with said.open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={given}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield Prometheus(address)
    finally:
        process.terminate()
        process.wait(30)

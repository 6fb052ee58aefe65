"""What a process without an API shows of itself."""

from __future__ import annotations

import json
import re
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tidegate import metrics
from tidegate.exporter import serve


def test_the_exporter_serves_what_was_counted_until_it_is_closed() -> None:
    metrics.TRANSACTIONS.labels("review").inc()
    exporter = serve(0)
    url = f"http://127.0.0.1:{exporter.port}/metrics"
    try:
        with urlopen(url, timeout=10) as reply:
            body = reply.read().decode()
    finally:
        exporter.close()
    counted = re.search(r'tidegate_transactions_total\{outcome="review"\} (\S+)', body)
    assert counted
    assert float(counted[1]) >= 1
    with pytest.raises(OSError):  # noqa: PT011  refused, in the words of the system
        urlopen(url, timeout=10)


def test_a_taken_port_is_an_error_and_not_silence() -> None:
    exporter = serve(0)
    try:
        with pytest.raises(OSError, match="in use"):
            serve(exporter.port)
    finally:
        exporter.close()


def test_ready_says_what_is_in_the_way_and_healthy_does_not_care() -> None:
    away: list[str | None] = [None]
    exporter = serve(0, checks={"kafka": lambda: away[0]})
    address = f"http://127.0.0.1:{exporter.port}"
    try:
        with urlopen(f"{address}/readyz", timeout=10) as reply:
            assert json.load(reply)["status"] == "ready"
        away[0] = "no Kafka broker answers, for 3 s now"
        with pytest.raises(HTTPError) as refused:
            urlopen(f"{address}/readyz", timeout=10)
        with refused.value as answer:
            assert answer.code == 503
            assert json.load(answer)["checks"] == [
                {"name": "kafka", "ok": False, "detail": "no Kafka broker answers, for 3 s now"}
            ]
        with urlopen(f"{address}/healthz", timeout=10) as reply:
            assert reply.status == 200
        with pytest.raises(HTTPError) as unknown:
            urlopen(f"{address}/else", timeout=10)
        unknown.value.close()
        assert unknown.value.code == 404
    finally:
        exporter.close()

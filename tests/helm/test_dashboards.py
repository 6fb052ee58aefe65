"""Dashboards: every query is one that Prometheus can read, of metrics that there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.exposed import SERIES, asked
from tests.helm.test_chart import CHART, rendered

FILES = sorted((CHART / "dashboards").glob("*.json"))
NAMES = [path.stem for path in FILES]


@pytest.fixture(params=FILES, ids=NAMES)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.param.read_text())
    return found


def queries(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def test_every_metric_asked_for_is_one_that_there_is(board: dict[str, Any]) -> None:
    for title, query in queries(board):
        assert asked(query), title
        assert asked(query) <= SERIES, title


def test_prometheus_can_read_every_query(checked, board: dict[str, Any], tmp_path: Path) -> None:
    filled = [
        query.replace("$__rate_interval", "5m").replace("$namespace", ".*")
        for _, query in queries(board)
    ]
    assert not [query for query in filled if "$" in query]
    rules = [{"record": f"query:{place}", "expr": query} for place, query in enumerate(filled)]
    groups = [{"name": "queries", "rules": rules}]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": groups}))
    checked(tmp_path, "check rules --lint=none queries.yaml")


def test_no_two_panels_lie_over_each_other(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_each_is_told_apart() -> None:
    boards = [json.loads(path.read_text()) for path in FILES]
    assert len({board["uid"] for board in boards}) == len(boards) == 5
    assert len({board["title"] for board in boards}) == len(boards)


def test_the_chart_gives_them_to_grafana_as_they_are(helm: str) -> None:
    made = rendered(helm, "--set", "secret.name=s,monitoring.enabled=true")
    given = {
        name: text
        for resource in made
        if resource["kind"] == "ConfigMap"
        for name, text in resource["data"].items()
    }
    assert {name.removeprefix("tidegate-") for name in given} == {path.name for path in FILES}
    for path in FILES:
        assert json.loads(given[f"tidegate-{path.name}"]) == json.loads(path.read_text())

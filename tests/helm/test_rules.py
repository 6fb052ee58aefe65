"""Alerting rules: each was seen to fire, asks for metrics that there are, and says what to read."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.exposed import SERIES, asked

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm" / "tidegate" / "rules.yaml"
SEEN = Path(__file__).with_name("rules_test.yaml")
OPERATIONS = ROOT / "docs" / "operations"

ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]


def test_each_fires_on_what_it_is_for_and_lets_the_rest_pass(checked, tmp_path: Path) -> None:
    for path in (RULES, SEEN):
        shutil.copy(path, tmp_path)
    checked(tmp_path, f"test rules {SEEN.name}")


def test_each_was_seen_to_fire() -> None:
    seen = {
        case["alertname"]
        for test in yaml.safe_load(SEEN.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert seen == {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_metric_asked_for_is_one_that_there_is(alert: dict[str, Any]) -> None:
    assert asked(alert["expr"])
    assert asked(alert["expr"]) <= SERIES


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_says_how_grave_it_is_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["annotations"]["summary"].endswith(".")
    file, _, heading = alert["annotations"]["runbook"].partition("#")
    text = (OPERATIONS / file).read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", name).lower().replace(" ", "-") for name in headings}
    assert not heading or heading in anchors

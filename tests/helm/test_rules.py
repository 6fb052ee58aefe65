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

ALL: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in ALL if "alert" in rule]
NAME = re.compile(r"\w+:\w+:\w+")  # of what a rule records
RECORDED = {rule["record"] for rule in ALL if "record" in rule}


def test_each_fires_on_what_it_is_for_and_lets_the_rest_pass(checked, tmp_path: Path) -> None:
    for path in (RULES, SEEN):
        shutil.copy(path, tmp_path)
    checked(tmp_path, f"test rules {SEEN.name}")


def test_each_was_seen_to_fire() -> None:
    seen = {
        case["alertname"]
        for test in yaml.safe_load(SEEN.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    assert seen == {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_metric_asked_for_is_one_that_there_is(rule: dict[str, Any]) -> None:
    recorded = set(NAME.findall(rule["expr"]))
    assert recorded <= RECORDED
    assert asked(rule["expr"]) or recorded
    assert asked(rule["expr"]) <= SERIES


def test_all_that_is_recorded_was_seen_to_be_right() -> None:
    seen = {
        name
        for test in yaml.safe_load(SEEN.read_text())["tests"]
        for case in test.get("promql_expr_test", ())
        for name in NAME.findall(case["expr"])
    }
    assert seen == RECORDED


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_says_how_grave_it_is_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["annotations"]["summary"].endswith(".")
    file, _, heading = alert["annotations"]["runbook"].partition("#")
    text = (OPERATIONS / file).read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", name).lower().replace(" ", "-") for name in headings}
    assert not heading or heading in anchors

"""The set-up for one machine, as far as it can be tried without a container engine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import tidegate
from tidegate.settings import Settings

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
WAITED_FOR = {"service_healthy", "service_completed_successfully"}


def ports() -> Iterator[str]:
    for service in SERVICES.values():
        yield from service.get("ports", ())


def test_every_part_is_there() -> None:
    assert SERVICES.keys() == {
        *("kafka", "database", "migrate", "flow", "api", "maintain", "prometheus", "grafana")
    }
    assert {service["image"] for service in OURS.values()} == {f"tidegate:{tidegate.__version__}"}


def test_nothing_is_published_beyond_this_machine() -> None:
    assert list(ports())
    assert all(port.startswith("127.0.0.1:") for port in ports())


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_no_more_rights_than_they_need(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "user", "network_mode", "pid"}


@pytest.mark.parametrize("name", OURS)
def test_the_program_takes_their_settings(name: str) -> None:
    Settings.from_environ(OURS[name]["environment"])  # raises SettingError


@pytest.mark.parametrize("name", SERVICES)
def test_each_waits_for_what_it_needs(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert how["condition"] in WAITED_FOR
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[needed]
        else:
            assert SERVICES[needed]["restart"] == "no"


def test_everything_kept_is_in_a_volume_that_is_declared() -> None:
    mounted = {
        mount.partition(":")[0]
        for service in SERVICES.values()
        for mount in service.get("volumes", ())
    }
    files = {source for source in mounted if source.startswith(".")}
    assert mounted - files == COMPOSE["volumes"].keys()
    assert all((ROOT / source).exists() for source in files)


def test_prometheus_takes_its_configuration(checked, tmp_path: Path) -> None:
    configs = COMPOSE["configs"]
    (tmp_path / "prometheus.yml").write_text(configs["prometheus"]["content"])
    shutil.copy(ROOT / configs["rules"]["file"], tmp_path)
    checked(tmp_path, "check config prometheus.yml")
    asked = yaml.safe_load(configs["prometheus"]["content"])["scrape_configs"]
    targets = {t for job in asked for group in job["static_configs"] for t in group["targets"]}
    assert {target.partition(":")[0] for target in targets} == {"flow", "api"}

"""What several tests of faults share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.dataflows.conftest import new_database
from tests.dataflows.streams import frauds, late_labels, simulated, stored, write
from tests.faults.places import DAYS, MATURITY, ROWS, Place, World, cleared, states

__all__ = ["new_database"]


@pytest.fixture(scope="session")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    batch, told = simulated(ROWS, DAYS, seed=31)
    return write(
        tmp_path_factory.mktemp("world"), batch, late_labels(batch, frauds(told), MATURITY / 2)
    )


@pytest.fixture
def place(database: str, tmp_path: Path, paths: tuple[Path, Path]) -> Iterator[Place]:
    (tmp_path / "killed").mkdir()
    with cleared(Place(database, tmp_path / "killed", paths)) as ready:
        yield ready


@pytest.fixture(scope="session")
def world(
    paths: tuple[Path, Path],
    new_database: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    data = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    with cleared(Place(new_database(), data, paths)) as place:
        place.finish(1)
    seconds = time.monotonic() - began
    return World(paths, stored(place.database), states(data), seconds)

"""A cluster for each module, what it has outside, and all that a release needs before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.node import Node, node
from tests.cluster.outside import Outside, outside
from tests.cluster.parts import BIN
from tests.cluster.release import Release, prepare
from tests.conftest import missing


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    if not (BIN / "tidegate.tar").exists():
        missing("no Kubernetes for tests: run `sh tests/cluster/setup.sh`, as root")
    with node(tmp_path_factory.mktemp("node")) as ready:
        for image in ("tidegate.tar", "postgres.tar"):
            ready.load(BIN / image)
        yield ready


@pytest.fixture(scope="module")
def given(kubernetes: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with outside(kubernetes, tmp_path_factory.mktemp("outside") / "given") as ready:
        yield ready


@pytest.fixture(scope="module")
def prepared(
    kubernetes: Node, given: Outside, helm: str, tmp_path_factory: pytest.TempPathFactory
) -> Release:
    """Nothing of it is installed yet."""
    prepare(kubernetes, given, tmp_path_factory.mktemp("release"))
    return Release(kubernetes, helm)

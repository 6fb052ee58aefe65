"""Bytewax's own entry points, with types: the only place where a flow is set going."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.testing import cluster_main, run_main


def execute(
    flow: Dataflow,
    recovery_dir: Path | None = None,
    snapshot_seconds: float = 10.0,
    addresses: Sequence[str] = (),
    index: int = 0,
) -> None:
    """Runs the flow in this thread until its sources end: alone, or as the `index`-th of a cluster
    of processes at `addresses` (host:port). Without a recovery directory nothing outlives it."""
    options: dict[str, Any] = {"epoch_interval": timedelta(seconds=snapshot_seconds)}
    if recovery_dir is not None:
        options["recovery_config"] = RecoveryConfig(recovery_dir)  # type: ignore[no-untyped-call]
    # `bytewax.run` offers the same behind a command line; these two take our flow as it is, and
    # leave signals to us.
    if addresses:
        cluster_main(flow, list(addresses), index, **options)  # type: ignore[no-untyped-call]
    else:
        run_main(flow, **options)  # type: ignore[no-untyped-call]

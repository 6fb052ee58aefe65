"""`tidegate run`: the scoring flow, from Kafka or over files."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from dataflows.messages import Outcome
from dataflows.runner import Run, RunFailed
from dataflows.runner import run as run_flow
from models.roster import challengers
from tidegate.cli.counting import counted
from tidegate.cli.database import at_head
from tidegate.cli.progress import bar
from tidegate.kafka import admin
from tidegate.readers import TransactionFile
from tidegate.settings import SettingError, Settings

log = logging.getLogger("tidegate.run")


def run(
    settings: Settings,
    transactions: Sequence[Path],
    labels: Path | None,
    workers: int | None,
    currency: str | None,
) -> None:
    """Runs until the files end, or until it is told to stop."""
    if workers is not None:
        settings = replace(settings, flow=replace(settings.flow, workers=workers))
    if not transactions:
        _run_from_kafka(settings, labels)
        return
    with at_head(settings) as database, counted(database.url):
        given = described(settings, database.url, transactions, labels, currency)
        started = time.monotonic()
        rows = 0
        counts = [TransactionFile(path, currency=currency).rows for path in transactions]
        total = None if None in counts else sum(count or 0 for count in counts)
        with bar("scoring", total) as advance:

            def stored(outcomes: Sequence[Outcome]) -> None:
                nonlocal rows
                more = sum(len(o.decisions) for o in outcomes if o.decisions is not None)
                rows += more
                advance(more)

            finished = run_flow(given, stored)
        seconds = time.monotonic() - started
        facts: dict[str, object] = {"seconds": round(seconds, 1)}
        if given.workers == 1:
            facts |= {"transactions": rows, "per_second": round(rows / seconds)}
        what = "the files have ended" if finished else "stopped with a last snapshot"
        log.info(what, extra=facts)


def _run_from_kafka(settings: Settings, labels: Path | None) -> None:
    if not settings.kafka.brokers:
        raise RunFailed("give --transactions, or set TIDEGATE_KAFKA_BROKERS to read from Kafka")
    if labels is not None:
        raise RunFailed("--labels goes with --transactions: from Kafka, labels come by their topic")
    admin.check_config(settings.kafka)
    admin.wait_for_broker(settings.kafka)
    partitions = admin.ensure_topics(settings.kafka)
    with at_head(settings) as database, counted(database.url):
        given = described(settings, database.url, (), None)
        log.info("reads from Kafka until it is stopped", extra={"partitions": partitions})
        run_flow(replace(given, kafka=asdict(settings.kafka)))
        log.info("stopped with a last snapshot")


def described(
    settings: Settings,
    database_url: str,
    transactions: Sequence[Path],
    labels: Path | None,
    currency: str | None = None,
) -> Run:
    """What the flow is told, from the settings and the files."""
    return Run(
        database_url=database_url,
        recovery_dir=str(settings.storage.recovery_dir),
        transactions=tuple(str(path) for path in transactions),
        labels=None if labels is None else str(labels),
        currency=currency,
        shards=settings.flow.shards,
        workers=settings.flow.workers,
        snapshot_seconds=settings.flow.snapshot_seconds,
        maturity_days=settings.learning.maturity_days,
        review=settings.thresholds.review,
        decline=settings.thresholds.decline,
        control=settings.thresholds.control,
        challengers=_known(settings.learning.challengers),
        promote=(
            (settings.learning.promote_margin, settings.learning.promote_frauds)
            if settings.learning.promote
            else None
        ),
        metrics_port=settings.monitoring.metrics_port or 0,
        metrics_host=settings.monitoring.metrics_host,
    )


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    try:
        challengers(names)
    except ValueError as error:
        raise SettingError("TIDEGATE_CHALLENGERS", str(error)) from error
    return names

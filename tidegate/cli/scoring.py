"""`tidegate run` and `supervise`: the scoring flow, over files or live: from Kafka and from what
HTTP brings."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from dataflows.messages import Outcome
from dataflows.runner import Run, RunFailed
from dataflows.runner import join as join_flow
from dataflows.runner import run as run_flow
from models.roster import challengers
from tidegate import tracing
from tidegate.cli.counting import counted
from tidegate.cli.database import usable
from tidegate.cli.progress import bar
from tidegate.collector import settle
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
        if labels is not None:
            raise RunFailed(
                "--labels goes with --transactions: a live run is told labels as messages"
            )
        _run_live(settings)
        return
    with usable(settings) as database, counted(database.url):
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

            with tracing.sending(settings.monitoring, "tidegate-flow"):
                settle()
                finished = run_flow(given, stored)
        seconds = time.monotonic() - started
        facts: dict[str, object] = {"seconds": round(seconds, 1)}
        if given.workers == 1:
            facts |= {"transactions": rows, "per_second": round(rows / seconds)}
        what = "the files have ended" if finished else "stopped with a last snapshot"
        log.info(what, extra=facts)


def supervise(settings: Settings, address: str, name: str, *, joins: bool) -> None:
    """Leads a live cluster of several machines, or joins one, until it is told to stop."""
    if settings.storage.database_url is None:
        raise SettingError("TIDEGATE_DATABASE_URL", "is not set: a cluster meets in its database")
    if not joins:
        _run_live(settings, address)
        return
    with usable(settings) as database:
        settle()
        join_flow(_live(settings, database.url), name, address)
        log.info("stopped")


def _run_live(settings: Settings, address: str | None = None) -> None:
    with usable(settings) as database, counted(database.url):
        settle()
        run_flow(_live(settings, database.url), address=address)
        log.info("stopped with a last snapshot")


def _live(settings: Settings, database_url: str) -> Run:
    given = described(settings, database_url, (), None)
    if not settings.kafka.brokers:
        log.info("reads what comes over HTTP until it is stopped: no TIDEGATE_KAFKA_BROKERS")
        return given
    partitions = _found_topics(settings)
    log.info(
        "reads from Kafka, and what comes over HTTP, until it is stopped",
        extra={"partitions": partitions},
    )
    return replace(given, kafka=asdict(settings.kafka))


def _found_topics(settings: Settings) -> Mapping[str, int]:
    admin.check_config(settings.kafka)
    admin.wait_for_broker(settings.kafka)
    return admin.ensure_topics(settings.kafka)


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

"""`tidegate migrate` and `tidegate maintain`: schema, policies, and the end of old rows."""

from __future__ import annotations

import logging
import math
import signal
import time
from datetime import UTC, datetime, timedelta

import psycopg
import typer

from tidegate.cli.database import (
    IMPATIENT,
    SchemaMismatch,
    embedded_home,
    fitting,
    migrated,
    opened,
    this_release,
    usable,
)
from tidegate.settings import Retention, Settings
from tidegate.store import aggregates, connection, gathering, policies, retention, totals
from tidegate.store.connection import Conn
from tidegate.store.policies import Kind

log = logging.getLogger("tidegate.maintain")

# Held by the one who maintains. It must never change, as in `tidegate.store.lease`.
LOCK = 7_421_907_310_558_204

_TAKE = "SELECT pg_try_advisory_lock(%(lock)s)"
_TURN = 5.0  # seconds between two tries to become the one who maintains

# Before a policy drops a chunk, what the pages count of it must be final; the policy's hour is its
# own, and a chunk of decisions is a day.
_AHEAD = timedelta(days=2)

_HOUR = 3600.0  # seconds from one look for old rows to the next, however short the rounds are


def migrate(settings: Settings) -> None:
    """Brings the schema to the newest version and the policies to the settings; says what changed.

    Nothing of decisions is touched: TimescaleDB's jobs do that later. Alerts of before there were
    cases get theirs last, in batches: whoever reads or writes goes on, and after an interruption
    the next call does the rest.
    """
    with migrated(settings) as database:
        typer.echo(f"the schema is at revision {database.revision}", err=True)
        if database.revision != this_release().newest:
            typer.echo("a newer version did that, and this one works with it: left so", err=True)
            return
        with connection.connect(database.url, application_name="tidegate-migrate") as conn:
            # As in migrations: poolers lose what a session prepared.
            conn.prepare_threshold = None
            for change in policies.apply(conn, settings.retention):
                typer.echo(change, err=True)
            conn.commit()
            gathered = 0
            while count := gathering.step(conn):
                conn.commit()
                gathered += count
            if gathered:
                typer.echo(f"gathered {gathered:,} alerts of before into cases", err=True)


def check(settings: Settings) -> None:
    """Raises SchemaMismatch unless this version works with the schema. Changes nothing, and waits
    for nobody who migrates."""
    home = embedded_home(settings)
    if settings.storage.database_url is None and not home.exists():
        raise SchemaMismatch(f"there is no database in {home} yet: run tidegate migrate")
    with (
        opened(settings) as url,
        connection.connect(url, application_name="tidegate-check") as conn,
    ):
        conn.execute(IMPATIENT)
        fitting(conn, url)


def maintain(settings: Settings, every: float | None) -> None:
    """Rounds, so many seconds from the end of one to the start of the next, until SIGTERM or
    SIGINT; without `every` just one.

    A signal cancels the statement that runs; what was committed stays, and the next round goes on
    from there. Of several on one database one works; another waits, or, asked for one round, ends
    with 1. Rounds outlive a database that goes away.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with usable(settings) as database:
            while True:
                try:
                    if not _in_turn(database.url, settings.retention, every):
                        raise typer.Exit(1)
                except psycopg.OperationalError as error:
                    if every is None:
                        raise
                    log.warning("the round was cut short: %s", " ".join(str(error).split()))
                if every is None:
                    return
                time.sleep(every)
    except KeyboardInterrupt:
        log.info("stopped")


def _in_turn(url: str, kept: Retention, every: float | None) -> bool:
    """Rounds for as long as the session with the lock lasts; says whether it could be had."""
    with connection.connect(url, application_name="tidegate-maintain") as conn:
        conn.autocommit = True
        conn.prepare_threshold = None
        waits = False
        while not _taken(conn):
            if every is None:
                typer.echo("tidegate: another one maintains this database", err=True)
                return False
            if not waits:
                log.info("another one maintains this database: waits for its turn")
            waits = True
            time.sleep(_TURN)
        looked = -math.inf
        while True:
            if time.monotonic() - looked >= _HOUR:
                looked = time.monotonic()
                _thorough(conn, kept)
            elif aggregates.kind(conn) is aggregates.Kind.KEPT:  # TimescaleDB's have their policies
                aggregates.refresh(conn)
            if every is None:
                return True
            time.sleep(every)


def _taken(conn: Conn) -> bool:
    (taken,) = conn.execute(_TAKE, {"lock": LOCK}).fetchone() or (False,)
    return bool(taken)


def _thorough(conn: Conn, kept: Retention) -> None:
    now = datetime.now(UTC)
    ends = [days for days in (kept.score_days, kept.count_days) if days]
    final = now - timedelta(min(ends)) if ends else None
    if final is not None and policies.kind(conn)[0] == Kind.COMMUNITY:
        final += _AHEAD
    # First the count, so that it holds what goes.
    aggregates.refresh(conn, final_before=final)
    removed: dict[str, list[int]] = {}
    for step in retention.enforce(conn, kept, now):
        of = removed.setdefault(step.table, [0, 0])
        of[0] += step.rows
        of[1] += step.chunks
    if wrong := totals.recount(conn):
        log.info("totals were put right", extra={"totals": wrong})
    for table, (rows, chunks) in removed.items():
        facts = {"table": table} | ({"chunks": chunks} if chunks else {"rows": rows})
        log.info("removed what was past its retention", extra=facts)

"""`tidegate doctor`: is everything there, and does it fit together? One line for each thing.

It changes nothing. A line begins with `ok` or `wrong`; what is wrong ends with what to do.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import psycopg
import typer

from dataflows.recovery import RecoveryMismatch, manifest_of, stored_steps
from dataflows.scoring import FLOW
from dataflows.verify import RecoveryDamaged
from tidegate import embedded
from tidegate.cli.database import IMPATIENT, embedded_home, this_release
from tidegate.cli.errors import told
from tidegate.cli.scoring import described
from tidegate.kafka import admin
from tidegate.kafka.admin import NoBroker
from tidegate.settings import Kafka, SettingError, Settings, masked_url
from tidegate.store import aggregates, connection, policies, release
from tidegate.store.connection import Conn
from tidegate.store.policies import Kind, TableStatus, spelt

_SECONDS = 5.0  # to wait for a broker
_AWAY = "move the store away to start without it"


class Line(NamedTuple):
    """What was found of one thing."""

    right: bool
    about: str
    text: str


def doctor() -> None:
    """Prints the lines; ends with 1 when one of them is wrong."""
    logging.getLogger().addHandler(logging.NullHandler())  # what clients log is in the lines
    right = True
    for line in _lines():
        right = right and line.right
        word = "ok" if line.right else "wrong"
        typer.echo(f"{word:<5}  {line.about:<14}  {' '.join(line.text.split())}")
    if not right:
        raise typer.Exit(1)


def _lines() -> Iterator[Line]:
    try:
        settings = Settings.from_environ(os.environ)
    except SettingError as error:
        yield Line(False, "settings", str(error))
        return
    yield Line(True, "settings", "all allowed")
    yield from _database(settings)
    yield from _kafka(settings.kafka)
    yield from _recovery(settings)


def _database(settings: Settings) -> Iterator[Line]:
    url = settings.storage.database_url
    home = embedded_home(settings)
    with ExitStack() as stack:
        try:
            if url is None:
                if not home.exists():
                    yield Line(True, "database", f"the embedded one, not made yet, in {home}")
                    return
                url = stack.enter_context(embedded.start(home)).url
                where = f"the embedded one in {home}"
            else:
                where = masked_url(url)
            conn = connection.connect(url, application_name="tidegate-doctor")
            stack.enter_context(conn)
        except (psycopg.OperationalError, embedded.EmbeddedError, OSError) as error:
            yield Line(
                False,
                "database",
                f"{told(error)}: is it there, and is TIDEGATE_DATABASE_URL right?",
            )
            return
        conn.prepare_threshold = None
        yield Line(True, "database", f"{where} answers")
        try:
            conn.execute(IMPATIENT)
            yield from _schema(conn, settings)
        except psycopg.Error as error:
            yield Line(
                False, "database", f"{told(error)}: let its user read all tables, then try again"
            )


def _schema(conn: Conn, settings: Settings) -> Iterator[Line]:
    found = release.schema(conn)
    if (wrong := release.refusal(this_release(), found)) is not None:
        yield Line(False, "schema", wrong.removeprefix("is "))
        return
    yield Line(True, "schema", f"at {found.revision}")
    status = policies.status(conn)
    version = f" {status.version}" if status.version else ""
    plain = {
        Kind.COMMUNITY: "",
        Kind.APACHE: ": no columnstore; tidegate maintain drops old rows",
        Kind.PLAIN: ": plain tables; tidegate maintain deletes old rows",
    }[status.kind]
    yield Line(True, "kind", f"{status.kind}{version}{plain}")
    if aggregates.behind(conn):
        text = "are behind, and slow statistics down: keep tidegate run or tidegate maintain going"
        yield Line(False, "counts", text)
    elif status.failing:
        failed = ", ".join(f"{job} of {name}" for name, job in status.failing)
        text = f"the last run of {failed} failed: see timescaledb_information.job_errors"
        yield Line(False, "counts", text)
    else:
        yield Line(True, "counts", "up to date")
    differences = policies.differences(conn, settings.retention)
    for difference in differences:
        yield Line(False, "policies", f"not as set ({difference}): run tidegate migrate")
    if not differences and status.kind == Kind.COMMUNITY:
        yield Line(True, "policies", "as set")
    for table, given in zip(status.tables, policies.TABLES, strict=True):
        days = policies.days(given, settings.retention)
        if table.failing:
            yield Line(
                False,
                table.name,
                f"the last run of {' and '.join(table.failing)} failed: see "
                "timescaledb_information.job_errors",
            )
        else:
            yield Line(True, table.name, _kept(table, status.kind, days))


def _kept(table: TableStatus, kind: Kind, days: int) -> str:
    parts = [_size(table.size)]
    if table.chunk_interval is not None:
        compressed = f", {table.compressed_chunks} compressed" if table.compressed_chunks else ""
        parts.append(f"{table.chunks} chunks of {spelt(table.chunk_interval)}{compressed}")
    if table.compressed_after is not None:
        parts.append(f"compressed after {spelt(table.compressed_after)}")
    if kind == Kind.COMMUNITY:
        kept = "for ever" if table.kept_for is None else f"for {spelt(table.kept_for)}"
    else:
        kept = f"for {days} days" if days else "for ever"
    return "; ".join([*parts, f"kept {kept}"])


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _kafka(kafka: Kafka) -> Iterator[Line]:
    if not kafka.brokers:
        yield Line(True, "kafka", "not set: files and HTTP only")
        return
    try:
        found = admin.look(kafka, _SECONDS)
    except (NoBroker, SettingError) as error:
        yield Line(False, "kafka", str(error))
        return
    yield Line(True, "kafka", f"{','.join(kafka.brokers)} answers")
    for name, variable in admin.variables_of(kafka).items():
        if isinstance(found[name], int):
            yield Line(True, "topic", f"{name}: {found[name]} partitions")
        else:
            yield Line(
                False,
                "topic",
                f"{name} ({variable}): {found[name]}: create it or allow it to be looked at; "
                "tidegate run makes what is missing, where it may",
            )


def _recovery(settings: Settings) -> Iterator[Line]:
    directory = settings.storage.recovery_dir
    try:
        yield Line(True, "recovery store", _resumable(directory, settings))
    except RecoveryMismatch as error:
        yield Line(False, "recovery store", str(error))
    except OSError as error:
        yield Line(False, "recovery store", f"{told(error)}: let this user read and write there")
    except (RecoveryDamaged, sqlite3.DatabaseError) as error:
        yield Line(
            False,
            "recovery store",
            f"{directory} cannot be read: {told(error)}: restore a backup, or {_AWAY}",
        )


def _resumable(directory: Path, settings: Settings) -> str:
    """What the store holds. Raises RecoveryMismatch when a run with these settings would refuse it;
    only a start looks into the states themselves."""
    manifest = manifest_of(directory)
    if manifest is None:
        return f"not made yet, in {directory}"
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(f"{directory} may not be written")
    try:
        made = json.loads(manifest.read_bytes())
    except ValueError:
        made = None
    if not isinstance(made, dict):
        raise RecoveryDamaged(f"{manifest.name} is no JSON object")
    given = described(settings, "", (), None)
    if made.get("input") == "kafka":
        given = replace(given, kafka=asdict(settings.kafka))
    elif made.get("input") == "files":
        given = replace(given, transactions=("some",))
    wanted = {name: value for name, value in given.fixed.items() if name != "input"}
    for name, value in wanted.items():
        if made.get(name) != value:
            raise RecoveryMismatch(
                f"{directory} was made with {name} {made.get(name)}, not {value}: change "
                f"TIDEGATE_{'KAFKA_' if name == 'slots' else ''}{name.upper()} back, or {_AWAY}"
            )
    steps = stored_steps(directory)
    if unknown := sorted(steps.difference(f"{FLOW}.{step}" for step in given.steps)):
        raise RecoveryMismatch(
            f"{directory} holds state of steps that this version does not have: "
            f"{', '.join(unknown)}: run the version that made it, or {_AWAY}"
        )
    return f"{directory}: made for {made.get('input')}, state of {len(steps)} steps"

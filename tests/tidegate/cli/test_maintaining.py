"""`tidegate migrate` and `tidegate maintain`, from the outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

import migrations
from tests.tidegate.cli.conftest import TIDEGATE, Command
from tests.waiting import wait_until
from tidegate.cli.maintaining import LOCK
from tidegate.store import policies
from tidegate.store.policies import Kind


def metrics(url: str, *ages: int) -> None:
    with psycopg.connect(url) as conn:
        for days in ages:
            at = datetime.now(UTC) - timedelta(days=days)
            conn.execute("INSERT INTO model_metric VALUES ('m', 'x', %s, 0.5, 1)", (at,))


def kept(url: str) -> int:
    with psycopg.connect(url) as conn:
        (rows,) = conn.execute("SELECT count(*) FROM model_metric").fetchone() or (-1,)
    return int(rows)


def need_plain(url: str) -> None:
    with psycopg.connect(url) as conn:
        if policies.kind(conn)[0] == Kind.COMMUNITY:
            pytest.skip("the given server has policies")


def logged(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_migrate_brings_policies_to_the_settings_and_says_what_changed(
    tidegate: Command, timescale: str
) -> None:
    told = tidegate("migrate", DATABASE_URL=timescale, RETENTION_SCORE_DAYS="30")
    assert told.returncode == 0, told.stderr
    assert "score: kept for 30 days; before: kept for ever" in told.stderr.splitlines()
    told = tidegate("migrate", DATABASE_URL=timescale, RETENTION_SCORE_DAYS="31")
    lines = [line for line in told.stderr.splitlines() if not line.startswith("{")]
    assert lines == [
        f"the schema is at revision {migrations.head()}",
        *(
            f"{name}: kept for 31 days; before: kept for 30 days"
            for name in ("score", *policies.COUNTS)
        ),
    ]


def test_migrate_check_is_content_at_the_newest_schema(tidegate: Command, database: str) -> None:
    told = tidegate("migrate", "--check", DATABASE_URL=database)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_migrate_check_refuses_another_schema_and_changes_nothing(
    tidegate: Command, empty_database: str
) -> None:
    for found in ("no revision", "0001"):
        told = tidegate("migrate", "--check", DATABASE_URL=empty_database)
        assert told.returncode == 1
        (line,) = told.stderr.splitlines()
        assert line.startswith("tidegate: the schema of postgresql://")
        assert line.endswith(
            f" is at {found}, this version works with {migrations.head()}: run tidegate migrate"
        )
        migrations.upgrade(empty_database, "0001")
    assert migrations.current(empty_database) == "0001"


def at_a_newer_schema(database: str, works_from: str) -> None:
    """As a version leaves it that is not written yet."""
    with psycopg.connect(database) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
        conn.execute("UPDATE schema_support SET works_from = %s", (works_from,))


COMMANDS = [["migrate", "--check"], ["migrate"], ["maintain", "--once"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_newer_schema_that_only_added_is_worked_with_and_left_so(
    tidegate: Command, database: str, command: list[str]
) -> None:
    at_a_newer_schema(database, migrations.head())
    told = tidegate(*command, DATABASE_URL=database)
    assert told.returncode == 0, told.stderr
    assert migrations.current(database) == "9999"
    if command == ["migrate"]:
        assert "a newer version did that, and this one works with it" in told.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_newer_schema_that_took_something_away_is_refused(
    tidegate: Command, database: str, command: list[str]
) -> None:
    at_a_newer_schema(database, "9998")
    told = tidegate(*command, DATABASE_URL=database)
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1, told.stderr
    assert told.stderr.rstrip().endswith("is too old for it: install the newer version")
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_migrate_check_does_not_wait_for_one_who_migrates(
    tidegate: Command, empty_database: str
) -> None:
    migrations.upgrade(empty_database, "0001")
    with psycopg.connect(empty_database) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (migrations.LOCK,))
        conn.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        start = time.monotonic()
        told = tidegate("migrate", "--check", DATABASE_URL=empty_database)
        assert told.returncode == 1
        assert len(told.stderr.splitlines()) == 1
        assert time.monotonic() - start < 20


def test_migrate_check_makes_no_embedded_database(tidegate: Command, tmp_path: Path) -> None:
    told = tidegate("migrate", "--check", DATABASE_URL="")
    assert told.returncode == 1
    assert told.stderr.endswith("yet: run tidegate migrate\n")
    assert not (tmp_path / "data").exists()


def test_maintain_once_removes_what_is_old_and_says_so(tidegate: Command, database: str) -> None:
    need_plain(database)
    metrics(database, 500, 450, 3)
    told = tidegate("maintain", "--once", DATABASE_URL=database, LOG_FORMAT="json")
    assert told.returncode == 0, told.stderr
    (line,) = [one for one in logged(told.stderr) if one["logger"] == "tidegate.maintain"]
    assert line["message"] == "removed what was past its retention"
    # Hypertables lose whole chunks, one a day here; plain tables rows.
    assert (line["table"], line.get("rows", line.get("chunks"))) == ("model_metric", 2)
    assert kept(database) == 1


SCORED = """
INSERT INTO score (
    transaction_id, event_time, card_token, terminal_id, amount_minor, currency, score, log_odds,
    decision, model_version, policy_version, features, reasons, scored_at, stream_time
)
SELECT 't-' || n, now() - n * interval '250 days', 'c', 'e', 5, 'EUR', 0.5, 0, 'approve', 'm', 'p',
    '', '[]', now(), now()
FROM generate_series(0, 2) n
"""


def counts(url: str) -> tuple[object, ...]:
    with psycopg.connect(url, prepare_threshold=None) as conn:
        query = "SELECT (SELECT count(*) FROM score), (SELECT sum(decisions) FROM decision_day)"
        return conn.execute(query).fetchone() or ()


def test_what_the_pages_count_outlives_the_rows(tidegate: Command, database: str) -> None:
    need_plain(database)
    with psycopg.connect(database) as conn:
        conn.execute(SCORED)
    for _ in range(2):
        told = tidegate("maintain", "--once", DATABASE_URL=database)
        assert told.returncode == 0, told.stderr
        assert counts(database) == (2, 3)


def test_where_policies_delete_it_only_counts(tidegate: Command, timescale: str) -> None:
    assert tidegate("migrate", DATABASE_URL=timescale).returncode == 0
    with psycopg.connect(timescale, prepare_threshold=None) as conn:
        conn.execute(SCORED)
    told = tidegate("maintain", "--once", DATABASE_URL=timescale, LOG_FORMAT="json")
    assert told.returncode == 0, told.stderr
    assert [line for line in logged(told.stderr) if line["logger"] == "tidegate.maintain"] == []
    assert counts(timescale) == (3, 3)
    job = "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention'"
    with psycopg.connect(timescale, autocommit=True, prepare_threshold=None) as conn:
        ((id,),) = conn.execute(job + " AND hypertable_name = 'score'").fetchall()
        conn.execute("CALL run_job(%s)", (id,))
    for _ in range(2):
        assert counts(timescale) == (2, 3)
        assert tidegate("maintain", "--once", DATABASE_URL=timescale).returncode == 0


def test_maintain_wants_the_newest_schema(tidegate: Command, empty_database: str) -> None:
    told = tidegate("maintain", "--once", DATABASE_URL=empty_database)
    assert told.returncode == 1
    assert told.stderr.endswith("run tidegate migrate\n")


@contextmanager
def maintainer(url: str, log: Path, every: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """One that runs until it is stopped."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE")}
    env |= {"TIDEGATE_DATABASE_URL": url, "TIDEGATE_LOG_FORMAT": "json"}
    with log.open("wb") as file:
        process = subprocess.Popen([TIDEGATE, "maintain", f"--every={every}"], env=env, stderr=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def stopped(process: subprocess.Popen[bytes], log: Path) -> list[object]:
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0, log.read_text()
    return [line["message"] for line in logged(log.read_text())]


def wait_for(log: Path, word: str) -> None:
    wait_until(lambda: word in log.read_text(), told=log.read_text)


def test_one_maintains_and_sigterm_ends_it_cleanly(
    tidegate: Command, database: str, tmp_path: Path
) -> None:
    need_plain(database)
    metrics(database, 500)
    log = tmp_path / "log"
    with maintainer(database, log) as process:
        wait_for(log, "removed")
        told = tidegate("maintain", "--once", DATABASE_URL=database)
        assert told.returncode == 1
        assert told.stderr.endswith("tidegate: another one maintains this database\n")
        assert stopped(process, log)[-2:] == ["removed what was past its retention", "stopped"]
    assert tidegate("maintain", "--once", DATABASE_URL=database).returncode == 0


def test_sigterm_cancels_the_statement_that_runs(database: str, tmp_path: Path) -> None:
    need_plain(database)
    metrics(database, 500)
    log = tmp_path / "log"
    with psycopg.connect(database, autocommit=True) as look, psycopg.connect(database) as holder:
        holder.execute("LOCK TABLE model_metric IN ACCESS EXCLUSIVE MODE")
        with maintainer(database, log) as process:
            waits = """SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
            WHERE NOT granted AND datname = current_database()"""
            wait_until(lambda: look.execute(waits).fetchone() != (0,))
            assert stopped(process, log)[-1] == "stopped"
    assert kept(database) == 1


def test_another_one_waits_for_its_turn(database: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with psycopg.connect(database, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        with maintainer(database, log) as process:
            wait_for(log, "waits for its turn")
            assert stopped(process, log)[-1] == "stopped"


def test_a_session_that_is_lost_costs_one_round(database: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    end = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = %s AND datname = current_database()"""
    with maintainer(database, log) as process:
        with psycopg.connect(database, autocommit=True) as conn:
            wait_until(lambda: bool(conn.execute(end, ("tidegate-maintain",)).fetchall()))
        wait_for(log, "cut short")
        assert stopped(process, log)[-1] == "stopped"

"""Decisions made again from the command line."""

from __future__ import annotations

from subprocess import CompletedProcess

import psycopg

from tests.remade import POLICY, put_made, put_versions
from tests.tidegate.cli.conftest import Command


def said(told: CompletedProcess[str]) -> str:
    """Standard error without the log."""
    return "".join(line for line in told.stderr.splitlines(True) if not line.startswith("{"))


def test_a_decision_is_shown_beside_itself_made_again(tidegate: Command, database: str) -> None:
    with psycopg.connect(database) as conn:
        model = put_versions(conn)
        log_odds, decision = put_made(conn, model, "t-1", 1)
        put_made(conn, model, "t-2", 2, log_odds=log_odds + 1)
    same = tidegate("replay", "t-1", DATABASE_URL=database)
    assert same.returncode == 0, same.stderr
    told = dict(
        line.split(maxsplit=1) for line in same.stdout.replace("made again", "again").splitlines()
    )
    assert told["model"] == model.version
    assert told["policy"] == POLICY.version
    assert told["stored"] == told["again"]
    assert f"({log_odds})" in told["again"]
    assert decision in told["again"]
    other = tidegate("replay", "t-2", DATABASE_URL=database)
    assert (other.returncode, said(other)) == (1, "tidegate: they differ\n")
    nobody = tidegate("replay", "t-3", DATABASE_URL=database)
    assert (nobody.returncode, said(nobody)) == (1, "tidegate: there is no decision on 't-3'\n")


def test_an_audit_fails_on_one_difference_and_names_it(tidegate: Command, database: str) -> None:
    with psycopg.connect(database) as conn:
        model = put_versions(conn)
        for number in range(250):
            put_made(conn, model, f"t-{number}", number)
    good = tidegate("audit-replay", DATABASE_URL=database)
    assert (good.returncode, good.stdout, said(good)) == (0, "250 decisions, 0 differ\n", "")
    with psycopg.connect(database) as conn:
        conn.execute("UPDATE score SET log_odds = log_odds - 1 WHERE transaction_id = 't-77'")
    bad = tidegate("audit-replay", DATABASE_URL=database)
    assert (bad.returncode, bad.stdout) == (1, "250 decisions, 1 differ\n")
    assert said(bad).startswith("t-77: stored ")


def test_what_cannot_be_made_again_fails_an_audit_too(tidegate: Command, database: str) -> None:
    with psycopg.connect(database) as conn:
        model = put_versions(conn)
        for number in range(3):
            put_made(conn, model, f"t-{number}", number)
        conn.execute("DELETE FROM model_version")
    told = tidegate("audit-replay", DATABASE_URL=database)
    assert (told.returncode, told.stdout) == (1, "3 decisions, 0 differ\n")
    assert said(told) == (
        f"tidegate: 3 cannot be made again: model version {model.version} is not stored\n"
    )
    one = tidegate("replay", "t-1", DATABASE_URL=database)
    assert (one.returncode, said(one)) == (
        1,
        f"tidegate: model version {model.version} is not stored\n",
    )

"""Models promoted from the command line, on a real database."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from tests.api.rows import at, put_metric, put_model, put_promotion
from tests.tidegate.cli.conftest import Command
from tidegate.store.connection import Conn

Models = Callable[..., CompletedProcess[str]]


@pytest.fixture
def models(tidegate: Command, database: str, conn: Conn) -> Models:
    """`tidegate models` with these arguments, on a database whose flow runs three models."""
    put_model(conn, "champion")
    put_model(conn, "quick", description="larger \x1b[2Jsteps")
    put_model(conn, "forest", servable=False)
    put_model(conn, "old", running=False)
    conn.commit()
    return lambda *arguments: tidegate(
        "models", *arguments, DATABASE_URL=database, LOG_LEVEL="warning"
    )


def cells(told: CompletedProcess[str]) -> list[list[str]]:
    assert (told.returncode, told.stderr) == (0, ""), told
    return [re.split(r"  +", line) for line in told.stdout.splitlines()]


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("list", ["--json"]),
        ("promote", ["--reason"]),
        ("rollback", ["--reason"]),
        ("history", ["--limit", "--json"]),
    ],
)
def test_help_names_every_option(tidegate: Command, command: str, options: list[str]) -> None:
    told = tidegate("models", command, "--help")
    assert told.returncode == 0
    assert f"tidegate models {command}" in told.stdout
    assert all(option in told.stdout for option in options)


def test_the_list_shows_how_the_models_stand(models: Models, conn: Conn) -> None:
    for name, value in (("champion", 0.7), ("forest", 0.6546)):
        put_metric(conn, "trial_average_precision_7d", 60, value, name=name)
        put_metric(conn, "trial_frauds_7d", 60, 120, name=name)
    put_metric(conn, "suspended", 60, 20, name="forest")
    put_metric(conn, "suspended", 59, 20)  # and began anew
    conn.commit()
    minute = "2026-03-01 12:01:00"
    assert cells(models("list")) == [
        ["model", "state", "average precision", "frauds", "measured", "description"],
        ["champion", "serves", "0.700", "120", minute, "what champion is"],
        ["forest", "cannot serve, suspended", "0.655", "120", minute, "what forest is"],
        ["quick", "larger \\u001b[2Jsteps"],
    ]


def test_the_list_as_json_has_every_figure(models: Models, conn: Conn) -> None:
    put_metric(conn, "trial_frauds_7d", 60, 120, name="quick")
    conn.commit()
    told = models("list", "--json")
    champion, _, quick = map(json.loads, told.stdout.splitlines())
    assert (champion["name"], champion["serving"], champion["frauds"]) == ("champion", True, None)
    assert quick == {
        "name": "quick",
        "description": "larger \x1b[2Jsteps",
        "servable": True,
        "serving": False,
        "average_precision": None,
        "frauds": {"at": "2026-03-01T12:01:00+00:00", "value": 120.0, "examples": 100},
        "suspended": None,
    }


def test_promotions_and_rollbacks_say_one_line_and_stand_in_the_history(
    models: Models, conn: Conn
) -> None:
    told = models("promote", "quick", "--reason", "better")
    assert (told.returncode, told.stderr) == (0, "")
    line = "quick is to serve from now on; champion served before (promotion 1)\n"
    assert told.stdout == line
    assert cells(models("list"))[3][:2] == ["quick", "serves"]
    told = models("rollback", "--reason", "worse")
    line = "champion is to serve from now on; quick served before (promotion 2, takes back 1)\n"
    assert told.stdout == line
    actor = f"cli:{getpass.getuser()}"
    rows = conn.execute("SELECT actor, action FROM audit ORDER BY audit_id").fetchall()
    assert rows == [(actor, "model.promote"), (actor, "model.rollback")]
    header, *lines = cells(models("history"))
    assert header == ["id", "at", "model", "before", "by", "undoes", "reason"]
    assert [line[:1] + line[2:] for line in lines] == [
        ["2", "champion", "quick", actor, "1", "worse"],
        ["1", "quick", "champion", actor, "better"],
    ]


def test_the_history_as_json_has_every_column(models: Models, conn: Conn) -> None:
    put_promotion(conn, "quick", "champion", at=at(1), automatic=True, judged_at=at(0))
    conn.commit()
    (line,) = models("history", "--json").stdout.splitlines()
    assert json.loads(line) == {
        "promotion_id": 1,
        "at": "2026-03-01T12:00:01+00:00",
        "model": "quick",
        "before": "champion",
        "actor": "cli:ann",
        "reason": "",
        "automatic": True,
        "undoes": None,
        "judged_at": "2026-03-01T12:00:00+00:00",
    }


def test_of_a_long_history_the_newest_are_shown_and_that_there_are_more(
    models: Models, conn: Conn
) -> None:
    put_promotion(conn, "quick", "champion")
    put_promotion(conn, "champion", "quick")
    conn.commit()
    told = models("history", "--limit", 1)
    assert [line.split()[0] for line in told.stdout.splitlines()] == ["id", "2"]
    assert "older ones" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["promote", "nobody"], "the flow runs no model nobody; it runs: champion, forest, quick"),
        (["promote", "old"], "the flow no longer runs old; it runs: champion, forest, quick"),
        (
            ["promote", "forest"],
            "forest cannot serve: only models that are published as weights can",
        ),
        (["promote", "champion"], "champion serves already"),
        (["rollback"], "there is no promotion to take back"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    models: Models, conn: Conn, arguments: list[str], why: str
) -> None:
    told = models(*arguments)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == f"tidegate: {why}\n"
    assert conn.execute("SELECT count(*) FROM promotion").fetchone() == (0,)


def test_where_there_is_nothing_to_show_it_says_so(tidegate: Command, database: str) -> None:
    told = tidegate("models", "list", DATABASE_URL=database)
    assert (told.returncode, told.stdout) == (0, "")
    assert told.stderr.endswith("no models: the flow was not started yet\n")
    told = tidegate("models", "history", DATABASE_URL=database)
    assert told.stderr.endswith("no promotions: champion serves\n")


@pytest.mark.parametrize(
    "arguments",
    [["promote"], ["promote", "a", "b"], ["promote", "\udcff"], ["history", "--limit", "0"]],
)
def test_what_is_no_model_and_no_number_is_a_matter_of_usage(
    tidegate: Command, arguments: list[str]
) -> None:
    told = tidegate("models", *arguments)
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1].startswith("Error: ")

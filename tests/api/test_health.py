from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import migrations
from tests.api.rows import put_score
from tidegate.store.release import Release


def test_the_process_is_alive_without_a_database(serve, tmp_path):
    client = serve(f"postgresql://nobody@/none?host={tmp_path}")
    assert client.get("/healthz").json() == {"status": "alive"}


def test_ready_says_that_no_decision_was_written_yet(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    checks = {check["name"]: check for check in answer.json()["checks"]}
    assert all(check["ok"] for check in checks.values())
    assert checks["decisions"]["detail"] == "no decision was written yet"


def test_ready_tells_the_age_of_the_newest_decision_and_no_age_is_an_error(client, conn):
    put_score(conn, "t-1", 1, scored_at=datetime.now(UTC) - timedelta(days=2))
    conn.commit()
    answer = client.get("/readyz")
    assert answer.status_code == 200
    (detail,) = [c["detail"] for c in answer.json()["checks"] if c["name"] == "decisions"]
    assert "17280" in detail
    assert "2026-03-01T12:00:01" in detail


def test_not_ready_says_that_the_database_does_not_answer(serve, tmp_path):
    answer = serve(f"postgresql://nobody:hush@/none?host={tmp_path}").get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "the database does not answer"
    assert "hush" not in answer.text


def test_not_ready_says_that_the_tables_are_missing(serve, empty_database):
    answer = serve(empty_database).get("/readyz")
    assert answer.status_code == 503
    assert "no tables yet: run tidegate migrate" in answer.json()["detail"]
    assert [check["ok"] for check in answer.json()["checks"]] == [True, False]


def test_not_ready_says_which_schema_is_there_and_which_is_needed(serve, database):
    later = Release("9999", migrations.known() | {"9999"})
    answer = serve(database, release=later).get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == (
        f"the schema is at {migrations.head()}, this version works with 9999: run tidegate migrate"
    )


def test_an_older_release_stays_ready_until_a_newer_one_takes_something_away(serve, database):
    older = Release(migrations.head(), migrations.known())
    client = serve(database, release=older)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
        assert client.get("/readyz").status_code == 200
        conn.execute("UPDATE schema_support SET works_from = '9998'")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == (
        f"the schema is at 9999, this version works with {migrations.head()} and is too old for "
        "it: install the newer version"
    )


def test_a_database_that_comes_later_is_found(serve, postgres):
    name = f"later_{uuid4().hex}"
    url = make_conninfo("", **(conninfo_to_dict(postgres) | {"dbname": name}))
    client = serve(url, release=None)
    assert client.get("/readyz").json()["detail"] == "the database does not answer"
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
        )
        try:
            until = time.monotonic() + 60
            while "no tables yet" not in client.get("/readyz").text:
                assert time.monotonic() < until, "the database was not found"
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_connections_that_the_server_cut_are_replaced(client, conn):
    assert client.get("/v1/alerts").status_code == 200
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'tidegate-api'"
    )
    assert client.get("/v1/alerts").status_code == 200


def test_the_api_cannot_write(database):
    from api.app import _read_only

    with psycopg.connect(_read_only(database, 1)) as conn:
        try:
            conn.execute("DELETE FROM score")
        except psycopg.errors.ReadOnlySqlTransaction:
            return
    raise AssertionError("it could")


def test_the_metrics_tell_of_the_pool(client, conn):
    assert client.get("/readyz").status_code == 200
    shown = client.get("/metrics").text
    pool = {
        line.split()[0]: float(line.split()[1])
        for line in shown.splitlines()
        if line.startswith("tidegate_database_pool")
    }
    assert pool['tidegate_database_pool_connections{state="idle"}'] >= 1
    assert pool['tidegate_database_pool_connections{state="in_use"}'] == 0
    assert pool["tidegate_database_pool_waiting_requests"] == 0

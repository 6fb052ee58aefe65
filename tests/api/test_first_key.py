"""The first key of a database, told once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import migrations
from tests.api.keys import ADMIN_KEY, bearer, put_admin_key
from tests.waiting import wait_until
from tidegate import keys
from tidegate.access import Role
from tidegate.store import api_keys, connection


@pytest.fixture
def told():
    return []


def test_the_first_key_is_an_admins_and_told_once(serve, database, told, conn):
    api = serve(database, key=None, tell_first_key=told.append)
    wait_until(lambda: told != [])
    body = api.get("/v1/session", headers=bearer(told[0])).json()
    assert (body["role"], body["name"]) == ("admin", "first admin key")
    rows = conn.execute("SELECT actor, action FROM audit").fetchall()
    assert rows == [("tidegate", "key.create")]
    serve(database, key=None, tell_first_key=told.append).get("/readyz")
    wait_until(lambda: True)
    assert len(told) == 1


def test_of_starters_at_once_one_makes_it(database):
    starters = 6
    barrier = Barrier(starters)

    def start(_):
        with connection.connect(database, application_name="starter") as conn:
            barrier.wait()
            made = api_keys.make_first(
                conn, keys.made(), name="first", role=Role.ADMIN, actor="tidegate"
            )
        return made is not None

    with ThreadPoolExecutor(starters) as pool:
        assert sum(pool.map(start, range(starters))) == 1
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT count(*) FROM api_key").fetchone() == (1,)


def test_two_servers_at_once_tell_one_key(serve, database, told):
    apis = [serve(database, key=None, tell_first_key=told.append) for _ in range(2)]
    wait_until(lambda: told != [])
    for api in apis:
        assert api.get("/v1/session", headers=bearer(told[0])).status_code == 200
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT count(*) FROM api_key").fetchone() == (1,)
    assert len(told) == 1


@pytest.mark.parametrize("change", ["", "UPDATE api_key SET revoked_at = now()"])
def test_where_there_was_a_key_none_is_made(serve, database, told, conn, change):
    put_admin_key(database)
    if change:
        conn.execute(change)
        conn.commit()
    api = serve(database, key=None, tell_first_key=told.append)
    status = 401 if change else 200
    assert api.get("/v1/stats", headers=bearer(ADMIN_KEY)).status_code == status
    assert told == []
    assert conn.execute("SELECT count(*) FROM api_key").fetchone() == (1,)


def test_a_database_without_tables_gets_it_when_they_are_there(serve, empty_database, told):
    api = serve(empty_database, key=None, tell_first_key=told.append)
    assert api.get("/v1/stats", headers=bearer(ADMIN_KEY)).status_code == 503
    migrations.upgrade(empty_database)
    wait_until(lambda: told != [])
    assert api.get("/v1/stats", headers=bearer(told[0])).status_code == 200


def test_a_role_that_may_only_read_makes_none_and_serves(serve, database, told, reader, caplog):
    url = make_conninfo(database, options=f"-c role={reader}")
    api = serve(url, key=None, tell_first_key=told.append)
    wait_until(lambda: "no first key is made" in caplog.text)
    assert api.get("/healthz").status_code == 200
    assert told == []

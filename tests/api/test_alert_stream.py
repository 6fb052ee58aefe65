"""Alerts as they come and change, streamed by a real server to many clients."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

import migrations
from api import create_app, following
from api.streams import Live
from tests.api.conftest import served
from tests.api.keys import ADMIN_KEY, OPEN, bearer
from tests.api.rows import put_alert
from tests.api.sse import Event, Events, listening, raw
from tests.waiting import wait_until
from tidegate import embedded, metrics
from tidegate.settings import Retention
from tidegate.store import alert_events, alert_work, retention
from tidegate.store.connection import connect


def committed(conn: psycopg.Connection, count: int, **given: Any) -> list[UUID]:
    made = [put_alert(conn, n, **given) for n in range(count)]
    conn.commit()
    return made


def ids(events: list[Event]) -> list[UUID]:
    return [UUID(event.data["alert_id"]) for event in events]


def until_over(events: Events) -> list[Event]:
    try:
        return list(events)
    except httpx.RemoteProtocolError:  # the server was killed
        return []


def test_a_new_alert_comes_as_the_list_shows_it(client, conn):
    with listening(client) as events:
        (alert_id,) = committed(conn, 1)
        (event,) = events.take(1)
    assert event.kind == "alert.created"
    assert event.data == client.get(f"/v1/alerts/{alert_id}").json()
    assert event.data == client.get("/v1/alerts").json()["data"][0]
    assert events.retry == 2000
    assert events.response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert events.response.headers["cache-control"] == "no-store"
    assert events.response.headers["x-accel-buffering"] == "no"


def test_a_changed_alert_comes_again(client, conn):
    with listening(client) as events:
        (alert_id,) = committed(conn, 1)
        events.take(1)
        client.patch(
            f"/v1/alerts/{alert_id}", json={"assignee": "ann"}, headers={"If-Match": '"1"'}
        )
        (event,) = events.take(1)
    assert (event.kind, event.data["assignee"], event.data["version"]) == (
        "alert.changed",
        "ann",
        2,
    )


def test_a_stream_begins_now(client, conn):
    with listening(client) as before:
        committed(conn, 3)
        before.take(3)  # until they were told, "now" may be a moment before them
        with listening(client) as events:
            new = committed(conn, 2)
            assert ids(events.take(2)) == new


def test_an_event_comes_at_once_and_not_with_the_next_look(client, conn, monkeypatch):
    monkeypatch.setattr(following, "LOOK_SECONDS", 5.0)
    waited = []
    with listening(client) as events:
        for _ in range(9):
            committed(conn, 1)
            began = time.monotonic()
            events.take(1)
            waited.append(time.monotonic() - began)
    assert sorted(waited)[4] < 2.5


@pytest.mark.parametrize("header", [True, False])
def test_a_stream_goes_on_after_the_event_that_is_named(client, conn, header):
    with listening(client) as events:
        made = committed(conn, 5)
        seen = events.take(3)
    later = committed(conn, 2)
    given = {"last": seen[-1].id} if header else {"after": seen[-1].id}
    with listening(client, **given) as events:
        assert ids(events.take(4)) == made[3:] + later


def test_more_than_a_page_that_was_missed_comes_in_order(client, conn):
    with listening(client) as events:
        start = events.id
    made = committed(conn, 1203)
    with listening(client, after=start) as events:
        seen = events.take(1203)
        assert ids(seen) == made
        (new,) = committed(conn, 1)
        assert ids(events.take(1)) == [new]


def test_one_may_ask_for_declined_payments_alone(client, conn):
    with listening(client) as events:
        start = events.id
    with listening(client, decision="decline") as events:
        (declined,) = (committed(conn, 3), committed(conn, 1, decision="decline"))[1]
        assert ids(events.take(1)) == [declined]
    with listening(client, decision="decline", after=start) as events:
        assert ids(events.take(1)) == [declined]


def test_an_idle_stream_says_that_it_is_there_and_from_where_to_go_on(serve, database, conn):
    api = serve(database, live=Live(heartbeat_seconds=0.3))
    with listening(api, decision="decline") as events:
        start = events.id
        committed(conn, 3)  # none of which it asked for
        wait_until(lambda: next(events.blocks).id != start, 5)
        assert "still here" in events.comments
        after = events.id
    with listening(api, after=after) as events:
        (new,) = committed(conn, 1)
        assert ids(events.take(1)) == [new]


def test_after_events_that_are_gone_the_client_is_told_to_read_the_list(client, database, conn):
    with listening(client) as events:
        start = events.id
        committed(conn, 3)
        events.take(3)  # or they may be gone before anybody knew of them
    conn.execute("UPDATE alert_event SET at = now() - interval '8 days'")
    conn.commit()
    with connect(database, application_name="test") as other:
        other.autocommit = True
        assert len(list(retention.enforce(other, Retention(), datetime.now(UTC)))) == 1
    with listening(client, last=start) as events:
        (reset,) = events.take(1)
        assert (reset.kind, reset.data) == ("reset", {})
        (new,) = committed(conn, 1)
        assert ids(events.take(1)) == [new]
    with listening(client, last=reset.id) as events:
        assert ids(events.take(1)) == [new]


def test_an_id_of_another_database_is_told_to_read_the_list(client):
    with listening(client, last="999999999999-1") as events:
        assert [event.kind for event in events.take(1)] == ["reset"]


@pytest.mark.parametrize("given", [{"after": "x"}, {"decision": "approve"}, {"status": "open"}])
def test_a_parameter_that_is_wrong_is_422(client, given):
    answer = client.get("/v1/alerts/stream", params=given)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == next(iter(given))
    answer = client.get("/v1/alerts/stream", headers={"Last-Event-ID": "1-2-3"})
    assert answer.status_code == 422


def test_more_streams_than_may_be_are_503_and_each_that_ends_makes_room(serve, database, conn):
    api = serve(database, live=Live(most=2))
    with listening(api), listening(api) as events:
        answer = api.get("/v1/alerts/stream")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert metrics.STREAMS_OPEN._value.get() == 2
        committed(conn, 1)
        events.take(1)
    wait_until(lambda: metrics.STREAMS_OPEN._value.get() == 0)
    with listening(api), listening(api):
        pass


def test_a_stream_ends_after_its_time_and_goes_on_without_a_gap(serve, database, conn):
    api = serve(database, live=Live(stream_seconds=0.5))
    with listening(api) as events:
        first = committed(conn, 1)
        seen = until_over(events)
    assert events.comments[-1] == "come back"
    second = committed(conn, 1)
    with listening(api, last=events.id) as events:
        seen += events.take(2 - len(seen))  # the first may have come too late for the first stream
    assert ids(seen) == first + second


def test_a_client_that_reads_nothing_is_ended_and_misses_nothing(serve, database, conn):
    api = serve(database, live=Live(backlog=300, send_seconds=60))
    with listening(api) as quick, raw(api) as slow:
        wait_until(lambda: metrics.STREAMS_OPEN._value.get() == 2)
        head = slow.recv(2000)
        assert b"200 OK" in head
        text = "x" * 2000
        made: list[UUID] = []
        for _ in range(30):
            made += committed(conn, 100, reasons=f'[{{"code":"c","weight":1,"text":"{text}"}}]')
            assert len(quick.take(100)) == 100
        got = b""
        while b"fell behind" not in got[-100:]:
            part = slow.recv(65536)
            assert part, got[-300:]
            got += part
    seen = [line[4:].decode() for line in got.splitlines() if line.startswith(b"id: ")]
    with listening(api, last=seen[-1]) as again:
        rest = ids(again.take(len(made) - got.count(b"alert.created")))
    assert got.count(b"alert.created") < len(made)
    assert rest == made[-len(rest) :]


def test_a_client_that_takes_nothing_for_long_is_given_up(serve, database, conn):
    api = serve(database, live=Live(send_seconds=0.5))
    with raw(api):
        wait_until(lambda: metrics.STREAMS_OPEN._value.get() == 1)
        text = "x" * 2000
        for _ in range(20):
            committed(conn, 100, reasons=f'[{{"code":"c","weight":1,"text":"{text}"}}]')
        wait_until(lambda: metrics.STREAMS_OPEN._value.get() == 0)


def test_fifty_streams_cost_one_query_a_batch(serve, database, conn, monkeypatch):
    after, asked = alert_events.after, []

    def counted(conn, position, *, limit):
        found = after(conn, position, limit=limit)
        if found:
            asked.append(len(found))
        return found

    monkeypatch.setattr(alert_events, "after", counted)
    api = serve(database)
    many = httpx.Limits(max_connections=60)
    api = httpx.Client(base_url=api.base_url, headers=api.headers, limits=many, timeout=30)
    go, made = threading.Event(), []
    started = threading.Barrier(51)

    def listen():
        with listening(api) as events:
            started.wait(30)
            return ids(events.take(40))

    with api, ThreadPoolExecutor(50) as pool:
        streams = [pool.submit(listen) for _ in range(50)]
        started.wait(30)
        go.set()
        for _ in range(4):
            made += committed(conn, 10)
        assert all(stream.result(30) == made for stream in streams)
    assert sum(asked) == 40


def test_it_answers_503_until_the_database_is_there(serve, tmp_path):
    api = serve(f"postgresql://nobody@/none?host={tmp_path}", access=OPEN)
    answer = api.get("/v1/alerts/stream")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_a_server_that_stops_ends_its_streams_at_once(serve, database):
    ended = []
    with served(create_app(database, access=OPEN)) as address:

        def listen():
            with httpx.Client(base_url=address) as api, listening(api) as events:
                until_over(events)
                ended.append(events.comments[-1])

        threads = [threading.Thread(target=listen) for _ in range(5)]
        for thread in threads:
            thread.start()
        wait_until(lambda: metrics.STREAMS_OPEN._value.get() == 5)
        began = time.monotonic()
    took = time.monotonic() - began
    for thread in threads:
        thread.join(10)
    assert ended == ["the server stops"] * 5
    assert took < 15  # not the ten minutes that a stream may last


class Watcher(threading.Thread):
    """Follows the stream like a browser: what breaks off is opened again from the last id."""

    def __init__(self, address: Any) -> None:
        super().__init__()
        self.client = httpx.Client(base_url=address, headers=bearer(ADMIN_KEY), timeout=20)
        self.seen: list[Event] = []
        self.last = ""
        self.opened = 0
        self.stop = threading.Event()
        self.ready = threading.Event()
        self.response: httpx.Response | None = None

    def run(self) -> None:
        with self.client:
            while not self.stop.is_set():
                try:
                    given = {"last": self.last} if self.last else {}
                    with listening(self.client, **given) as events:
                        self.opened += 1
                        self.last = self.last or events.id
                        self.ready.set()
                        for event in events:
                            self.seen.append(event)
                            self.last = event.id
                            if self.stop.is_set():
                                return
                except (httpx.HTTPError, AssertionError, OSError):
                    time.sleep(0.1)


def test_streams_that_break_off_lose_and_double_nothing_while_alerts_come_and_change(
    serve, database, conn
):
    api = serve(database, live=Live(stream_seconds=0.7))
    watchers = [Watcher(api.base_url) for _ in range(4)]
    for watcher in watchers:
        watcher.start()
        assert watcher.ready.wait(20)

    def write(writer: int) -> None:
        with connect(database, application_name="test-writer") as own:
            for n in range(40):
                alert_id = put_alert(own, n)
                if n % 3 == writer % 3:
                    time.sleep(0.05)  # its transaction is open while others commit
                own.commit()
                alert_work.change(own, alert_id, 1, {"assignee": f"w{writer}"}, actor="w")
                own.commit()

    with ThreadPoolExecutor(5) as writers:
        list(writers.map(write, range(5)))
    wanted = 5 * 40 * 2
    wait_until(
        lambda: all(len(w.seen) >= wanted for w in watchers), 30, lambda: str(watchers[0].opened)
    )
    last = committed(conn, 1)
    wait_until(lambda: all(len(w.seen) > wanted for w in watchers))
    for watcher in watchers:
        watcher.stop.set()
    committed(conn, 1)  # lets each see that it is to stop
    for watcher in watchers:
        watcher.join(20)
        seen = watcher.seen[: wanted + 1]
        assert watcher.opened > 2
        assert len({event.id for event in seen}) == wanted + 1
        counts = Counter(event.data["alert_id"] for event in seen)
        assert len(counts) == 201
        assert counts.pop(str(last[0])) == 1
        assert set(counts.values()) == {2}
        for alert_id in counts:
            assert [e.kind for e in seen if e.data["alert_id"] == alert_id] == [
                "alert.created",
                "alert.changed",
            ]


def test_streams_outlive_a_restart_of_the_database(serve, tmp_path_factory):
    # Not pytest's directory, which is closed to the server's user.
    home = Path(tempfile.mkdtemp(prefix="tidegate-test-"))
    try:
        with embedded.start(home) as server:
            migrations.upgrade(server.url)
            api = serve(server.url)
            wait_until(lambda: api.get("/readyz").status_code == 200)
            stream = listening(api)
            events = stream.__enter__()
            with connect(server.url, application_name="test") as conn:
                first = committed(conn, 2)
            assert ids(events.take(2)) == first
        with embedded.start(home) as server:
            with connect(server.url, application_name="test") as conn:
                second = committed(conn, 2)
            assert ids(events.take(2)) == second
            stream.__exit__(None, None, None)
    finally:
        shutil.rmtree(home)

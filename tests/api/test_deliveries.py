"""Events sent to a real HTTP server that fails, hangs, redirects and recovers."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg.conninfo import make_conninfo

import tidegate
from api.dispatching import Sending
from tests.api.receiver import Receiver, receiving
from tests.api.rows import put_alert, put_delivery, put_webhook
from tests.kafka.broker import free_ports
from tests.waiting import wait_until
from tidegate import metrics
from tidegate.settings import Webhooks
from tidegate.store import deliveries, outbox
from tidegate.store.connection import connect

LOCAL = Webhooks(allow_private=True)
# As in life, but in seconds; a machine that stands still for a moment gives nothing up.
FAST = Sending(waits=(0.1, 0.2, 0.4, 0.8), timeout=10.0)


@pytest.fixture
def database(either_database: str) -> str:
    return either_database


@pytest.fixture
def receiver():
    with receiving() as running:
        yield running


@pytest.fixture
def api(serve, database):
    return serve(database, hooks=LOCAL, sending=FAST)


def hooked(api, url, **given):
    answer = api.post("/v1/webhooks", json={"url": url} | given)
    assert answer.status_code == 201, answer.text
    return answer.json()


def where(made):
    return f"/v1/webhooks/{made['webhook_id']}"


def committed(conn: psycopg.Connection, count: int = 1, **given: Any):
    made = [str(put_alert(conn, n, **given)) for n in range(count)]
    conn.commit()
    return made


def log(api, made):
    return api.get(f"{where(made)}/deliveries", params={"limit": 200}).json()["data"]


def settled(api, made, count):
    """Its deliveries, once so many have come to their end."""
    wait_until(lambda: sum(one["state"] != "pending" for one in log(api, made)) == count)
    return log(api, made)


def signed(request, secret):
    """Whether one of the header's signatures is made with the secret."""
    parts = [part.split("=", 1) for part in request.headers["tidegate-signature"].split(",")]
    at = dict(parts)["t"]
    content = at.encode() + b"." + request.body
    wanted = hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
    return any(name == "v1" and value == wanted for name, value in parts)


def test_a_new_alert_is_sent_with_the_alert_in_it(api, conn, receiver):
    made = hooked(api, receiver.url)
    (alert_id,) = committed(conn)
    (delivery,) = settled(api, made, 1)
    (request,) = receiver.received
    assert request.path == "/hook"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"Tidegate/{tidegate.__version__}"
    assert abs(request.at - time.time()) < 10
    body = request.data
    assert body == {
        "id": request.headers["tidegate-event-id"],
        "type": "alert.created",
        "created_at": body["created_at"],
        "data": {"alert": api.get(f"/v1/alerts/{alert_id}").json()},
    }
    assert signed(request, made["secret"])
    assert not signed(request, "whsec_other")
    assert (delivery["state"], delivery["attempts"], delivery["status_code"]) == (
        "delivered",
        1,
        200,
    )
    assert (delivery["event_id"], delivery["alert_id"]) == (body["id"], alert_id)
    assert (delivery["error"], delivery["next_at"]) == (None, None)
    assert 0 < delivery["seconds"] < 10
    assert api.get(where(made)).json()["delivered_at"]


def test_only_the_kinds_that_were_asked_for_are_sent(api, conn, receiver):
    made = hooked(api, receiver.url, kinds=["alert.changed"])
    (alert_id,) = committed(conn)
    api.patch(f"/v1/alerts/{alert_id}", json={"assignee": "ann"}, headers={"If-Match": '"1"'})
    settled(api, made, 1)
    (request,) = receiver.received
    assert request.data["type"] == "alert.changed"
    assert request.data["data"]["alert"]["assignee"] == "ann"


def test_a_webhook_gets_what_happens_after_it_was_made_and_while_it_is_enabled(api, conn, receiver):
    committed(conn)
    made = hooked(api, receiver.url)
    api.patch(where(made), json={"status": "disabled"}, headers={"If-Match": '"1"'})
    committed(conn)
    time.sleep(0.5)
    api.patch(where(made), json={"status": "enabled"}, headers={"If-Match": '"2"'})
    (last,) = committed(conn)
    (delivery,) = settled(api, made, 1)
    assert delivery["alert_id"] == last
    assert len(receiver.received) == 1


def test_what_fails_is_sent_again_with_the_same_id_and_body_until_it_is_taken(api, conn, receiver):
    receiver.answer = lambda _: (503 if len(receiver.received) < 3 else 204, {})
    made = hooked(api, receiver.url)
    committed(conn)
    (delivery,) = settled(api, made, 1)
    assert (delivery["state"], delivery["attempts"], delivery["status_code"]) == (
        "delivered",
        3,
        204,
    )
    assert len({request.headers["tidegate-event-id"] for request in receiver.received}) == 1
    assert len({request.body for request in receiver.received}) == 1
    times = [request.at for request in receiver.received]
    assert times[1] - times[0] > 0.08
    assert times[2] - times[1] > 0.16
    assert api.get(where(made)).json()["failing_since"] is None


def test_after_the_last_try_it_is_given_up_and_may_be_asked_for_again(api, conn, receiver):
    receiver.answer = lambda _: (500, {})
    made = hooked(api, receiver.url)
    committed(conn)
    (delivery,) = settled(api, made, 1)
    assert (delivery["state"], delivery["attempts"]) == ("failed", len(FAST.waits) + 1)
    assert (delivery["status_code"], delivery["error"]) == (500, "answered 500")
    assert api.get(where(made)).json()["failing_since"]
    receiver.answer = lambda _: (200, {})
    path = f"{where(made)}/deliveries/{delivery['delivery_id']}/redeliver"
    answer = api.post(path, json={})
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    wait_until(lambda: log(api, made)[0]["state"] == "delivered")
    assert len(set(receiver.events())) == 1
    assert api.get(where(made)).json()["failing_since"] is None


def test_what_is_still_to_be_sent_cannot_be_asked_for_again(api, conn, receiver):
    receiver.hanging.set()
    made = hooked(api, receiver.url)
    committed(conn)
    wait_until(lambda: len(receiver.received) == 1)
    (delivery,) = log(api, made)
    path = f"{where(made)}/deliveries/{delivery['delivery_id']}/redeliver"
    assert api.post(path, json={}).status_code == 409


def test_a_redirect_is_not_followed(api, conn, receiver):
    with receiving() as other:
        receiver.answer = lambda _: (307, {"Location": other.url})
        made = hooked(api, receiver.url)
        api.post(f"{where(made)}/test", json={})
        (delivery,) = settled(api, made, 1)
    assert delivery["error"] == "answered 307: redirects are not followed"
    assert other.received == []


def test_an_endpoint_that_hangs_is_given_up_in_time_and_holds_up_no_other(
    serve, database, conn, receiver
):
    patient = Sending(waits=(1.0, 2.0, 4.0, 8.0, 16.0), timeout=3.0)
    api = serve(database, hooks=LOCAL, sending=patient)
    with receiving() as other:
        receiver.hanging.set()
        hangs, works = hooked(api, receiver.url), hooked(api, other.url)
        committed(conn, 40)
        wait_until(lambda: len(set(other.events())) == 40)
        assert len(receiver.received) < 40  # eight at a time for three seconds each
        settled(api, works, 40)
        first = log(api, hangs)[-1]
        assert first["state"] == "pending"
        wait_until(lambda: log(api, hangs)[-1]["error"] == "took too long")
        receiver.hanging.clear()
        receiver.released.set()
        settled(api, hangs, 40)
    assert len(set(other.events())) == 40
    assert set(receiver.events()) == set(other.events())


def test_an_answer_that_never_ends_is_not_read(api, conn, receiver):
    # The status is there, and that is enough.
    receiver.answer = lambda _: (200, {"Content-Length": "1000000000"})
    made = hooked(api, receiver.url)
    api.post(f"{where(made)}/test", json={})
    (delivery,) = settled(api, made, 1)
    assert delivery["state"] == "delivered"


def test_a_port_that_nobody_listens_on_is_told(api, conn):
    with receiving() as gone:
        url = gone.url
    made = hooked(api, url)
    api.post(f"{where(made)}/test", json={})
    (delivery,) = settled(api, made, 1)
    assert (delivery["state"], delivery["status_code"]) == ("failed", None)
    assert delivery["error"].startswith("ConnectError")


def test_a_private_address_is_refused_when_it_is_sent_to(serve, database, conn, receiver):
    api = serve(database, hooks=Webhooks(), sending=FAST)
    made = hooked(api, f"https://localhost:{receiver.port}/hook")
    api.post(f"{where(made)}/test", json={})
    (delivery,) = settled(api, made, 1)
    assert delivery["error"].endswith("is not a public address")
    assert receiver.received == []


def test_a_ping_is_sent_once_and_says_what_it_is(api, conn, receiver):
    receiver.answer = lambda _: (500, {})
    made = hooked(api, receiver.url)
    answer = api.post(f"{where(made)}/test", json={})
    assert (answer.status_code, answer.json()["kind"]) == (202, "ping")
    (delivery,) = settled(api, made, 1)
    assert (delivery["state"], delivery["attempts"]) == ("failed", 1)
    (request,) = receiver.received
    assert request.data["type"] == "ping"
    assert request.data["data"] == {}
    assert request.data["id"] == request.headers["tidegate-event-id"] == delivery["event_id"]
    assert signed(request, made["secret"])
    assert api.get(where(made)).json()["failing_since"] is None


def test_after_a_rotation_both_secrets_sign_until_the_old_one_expires(api, conn, receiver):
    made = hooked(api, receiver.url)
    new = api.post(f"{where(made)}/rotate", json={}, headers={"If-Match": '"1"'}).json()
    committed(conn)
    settled(api, made, 1)
    conn.execute("UPDATE webhook SET previous_until = now() - interval '1 second'")
    committed(conn)
    settled(api, made, 2)
    both, one = receiver.received
    assert signed(both, made["secret"])
    assert signed(both, new["secret"])
    assert both.headers["tidegate-signature"].count("v1=") == 2
    assert signed(one, new["secret"])
    assert not signed(one, made["secret"])


def test_without_the_key_nothing_is_sent_and_the_reason_is_told(serve, database, conn, receiver):
    key = Fernet.generate_key().decode()
    quiet = Webhooks(deliver=False, allow_private=True, secret_keys=(key,))
    made = hooked(serve(database, hooks=quiet), receiver.url)
    api = serve(database, hooks=LOCAL, sending=FAST)
    api.post(f"{where(made)}/test", json={})
    (delivery,) = settled(api, made, 1)
    assert "TIDEGATE_SECRET_KEY" in delivery["error"]
    assert receiver.received == []


def test_two_processes_share_the_work_and_send_nothing_twice(serve, database, conn, receiver):
    first = serve(database, hooks=LOCAL, sending=FAST)
    serve(database, hooks=LOCAL, sending=FAST)
    made = hooked(first, receiver.url)
    for _ in range(5):
        committed(conn, 30)
    settled(first, made, 150)
    assert len(receiver.received) == len(set(receiver.events())) == 150


def test_a_webhook_that_took_nothing_for_three_days_is_disabled_and_says_so(api, conn, receiver):
    receiver.answer = lambda _: (500, {})
    made = hooked(api, receiver.url)
    committed(conn)
    wait_until(lambda: api.get(where(made)).json()["failing_since"] is not None)
    conn.execute("UPDATE webhook SET failing_since = now() - interval '73 hours'")
    conn.commit()
    assert [why for _, why in outbox.disable(conn)] == ["no delivery was taken for 3 days"]
    conn.commit()
    found = api.get(where(made)).json()
    assert (found["status"], found["version"]) == ("disabled", 2)
    assert found["disabled_because"] == "no delivery was taken for 3 days"
    (row,) = conn.execute("SELECT actor, after FROM audit WHERE action = 'webhook.disable'")
    assert row == ("tidegate", {"because": "no delivery was taken for 3 days"})
    again = api.patch(where(made), json={"status": "enabled"}, headers={"If-Match": '"2"'}).json()
    assert (again["disabled_because"], again["failing_since"]) == (None, None)


def test_a_webhook_that_too_much_waits_for_is_disabled(conn, monkeypatch):
    monkeypatch.setattr(outbox, "MOST_WAITING", 3)
    webhook_id = put_webhook(conn)
    for n in range(4):
        assert outbox.disable(conn) == []
        put_delivery(conn, webhook_id, f"evt_{n}")
    assert [why for _, why in outbox.disable(conn)] == ["more than 3 deliveries waited"]


def test_a_try_that_outlived_its_claim_changes_nothing(conn):
    put_delivery(conn, put_webhook(conn), "evt_1")
    (first,) = outbox.claim(conn, {}, places=8)
    assert outbox.claim(conn, {}, places=8) == []
    conn.execute("UPDATE webhook_delivery SET next_at = now()")
    assert outbox.claim(conn, {first.webhook_id: 8}, places=8) == []
    (second,) = outbox.claim(conn, {first.webhook_id: 7}, places=8)
    assert (second.delivery_id, second.attempts) == (first.delivery_id, 2)
    outbox.record(conn, [outbox.Tried(first, None, None, "took too long", 10.0)])
    assert deliveries.page(conn, first.webhook_id, limit=1)[0].state == "pending"
    outbox.record(conn, [outbox.Tried(second, None, 200, None, 0.1)])
    assert deliveries.page(conn, first.webhook_id, limit=1)[0].state == "delivered"


def test_deliveries_are_read_in_pages_newest_first(api, conn, receiver):
    made = hooked(api, receiver.url)
    alerts = committed(conn, 5)
    settled(api, made, 5)
    seen, after = [], None
    while True:
        given = {"limit": 2} | ({"after": after} if after else {})
        page = api.get(f"{where(made)}/deliveries", params=given).json()
        seen += [one["alert_id"] for one in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert seen == alerts[::-1]


def test_what_is_sent_is_counted(api, conn, receiver):
    def count(outcome):
        return metrics.WEBHOOK_DELIVERIES.labels(outcome)._value.get()

    before = {outcome: count(outcome) for outcome in metrics.DELIVERIES}
    receiver.answer = lambda _: (500 if len(receiver.received) == 1 else 200, {})
    made = hooked(api, receiver.url)
    committed(conn)
    settled(api, made, 1)
    receiver.answer = lambda _: (500, {})
    api.post(f"{where(made)}/test", json={})
    settled(api, made, 2)
    found = {outcome: count(outcome) - before[outcome] for outcome in metrics.DELIVERIES}
    assert found == {"delivered": 1, "retried": 1, "failed": 1}


def test_the_age_of_what_waits_longest_is_known(conn):
    assert outbox.oldest_seconds(conn) == 0
    put_delivery(conn, put_webhook(conn), "evt_1", at=datetime.now(UTC) - timedelta(seconds=95))
    assert 60 <= outbox.oldest_seconds(conn) < 130  # now() is when the transaction began


def test_a_role_that_may_only_read_sends_nothing_and_serves_on(serve, database, conn, reader):
    url = make_conninfo(database, options=f"-c role={reader}")
    api = serve(url, hooks=LOCAL, sending=FAST)
    time.sleep(0.5)
    assert api.get("/v1/webhooks").status_code == 200


DOCUMENTED = Path(__file__).parents[2] / "docs" / "api.md"


def test_the_snippet_of_the_documents_verifies_what_is_sent(api, conn, receiver):
    (snippet,) = re.findall(r"```python\n(.*?def verified.*?)```", DOCUMENTED.read_text(), re.S)
    given: dict[str, Any] = {}
    exec(snippet, given)
    verified = given["verified"]
    made = hooked(api, receiver.url)
    committed(conn)
    settled(api, made, 1)
    (request,) = receiver.received
    header, body, secret = request.headers["tidegate-signature"], request.body, made["secret"]
    assert verified(header, body, secret)
    assert not verified(header, body + b" ", secret)
    assert not verified(header, body, "whsec_other")
    late = re.sub(r"t=\d+", f"t={int(time.time()) - 400}", header)
    assert not verified(late, body, secret)
    for broken in ("", "t=1", "v1=00", "t=x,v1=00", "nonsense", header.replace("v1", "v0")):
        assert not verified(broken, body, secret)
    new = api.post(f"{where(made)}/rotate", json={}, headers={"If-Match": '"1"'}).json()
    committed(conn)
    settled(api, made, 2)
    request = receiver.received[-1]
    for one in (secret, new["secret"]):
        assert verified(request.headers["tidegate-signature"], request.body, one)


def start_api(database: str, port: int) -> subprocess.Popen[bytes]:
    """The real command, in a process of its own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    env |= {
        "TIDEGATE_AUTH": "off",
        "TIDEGATE_DATABASE_URL": database,
        "TIDEGATE_WEBHOOK_ALLOW_PRIVATE": "true",
    }
    command = "from tidegate.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", command, "api", "--port", str(port)],
        env=env,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_the_outbox_survives_a_killed_process_and_each_event_is_sent(
    database, conn, receiver: Receiver
):
    webhook_id = put_webhook(conn, url=receiver.url)
    conn.commit()
    receiver.hanging.set()
    running = start_api(database, *free_ports(1))
    try:
        alerts = committed(conn, 30)
        wait_until(lambda: len(receiver.received) >= 8, 60)  # as many as are sent at a time
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait(20)
    receiver.hanging.clear()
    receiver.released.set()
    # Those under way were claimed by who is dead; a minute later they are free again.
    conn.execute("UPDATE webhook_delivery SET next_at = now() WHERE state = 'pending'")
    alerts += committed(conn, 5)
    running = start_api(database, *free_ports(1))
    try:
        wait_until(lambda: states(conn) == {"delivered": 35}, 60, lambda: str(states(conn)))
        began = time.monotonic()
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(20)
    assert time.monotonic() - began < 10
    sent = {request.data["data"]["alert"]["alert_id"] for request in receiver.received}
    assert sent == set(alerts)
    twice = sum(count > 1 for count in Counter(receiver.events()).values())
    assert twice <= 8
    with connect(database, application_name="test") as other:
        assert len(deliveries.page(other, webhook_id, limit=100)) == 35


def states(conn) -> dict[str, int]:
    found = dict(conn.execute("SELECT state, count(*) FROM webhook_delivery GROUP BY 1").fetchall())
    conn.commit()
    return found

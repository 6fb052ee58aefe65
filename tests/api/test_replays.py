"""Dead letters replayed through the API, on a real database and a real broker."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from api import create_app
from tests.api.keys import ADMIN
from tests.api.rows import at, put_dead_letter
from tests.kafka.fixtures import kafka_settings
from tests.tidegate.kafka.letters import BAD, GOOD, PAN, Written, letter_of, messages, write
from tidegate.settings import Kafka
from tidegate.store import inbox


@pytest.fixture
def kafka(broker, topics):
    return kafka_settings(broker, topics)


@pytest.fixture
def api(serve, database, kafka):
    return serve(database, kafka=kafka)


def path(id):
    return f"/v1/dead-letters/{id}/replay"


def assert_problem(answer, status, detail):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.json()["detail"]
    return answer.json()


def test_a_replay_is_202_with_where_the_message_is_now(api, conn, kafka):
    letter = letter_of(conn, write(kafka, kafka.topics.transactions, partition=1))
    answer = api.post(path(letter.id), json={})
    assert answer.status_code == 202, answer.text
    body = answer.json()
    replayed_at = body.pop("replayed_at")
    assert body == {"id": letter.id, "topic": letter.topic, "partition": 1, "offset": 1}
    assert messages(kafka, letter.topic, 1)[-1].value() == BAD
    (listed,) = api.get("/v1/dead-letters", params={"replayed": True}).json()["data"]
    assert listed["replayed_at"] == replayed_at
    assert conn.execute("SELECT actor, subject FROM audit").fetchall() == [(ADMIN, str(letter.id))]


def test_a_corrected_message_is_sent_in_its_place(api, conn, kafka):
    letter = letter_of(conn, write(kafka, kafka.topics.transactions))
    corrected = GOOD | {"latitude": 52.520008, "amount_minor": 2**53 + 1, "merchant_id": "Café"}
    assert api.post(path(letter.id), json={"payload": corrected}).status_code == 202
    last = messages(kafka, letter.topic)[-1]
    assert last.key() == b"card-1"
    assert json.loads(last.value() or b"") == corrected


def test_a_bad_correction_is_422_and_names_the_field_and_no_value(api, conn, kafka):
    letter = letter_of(conn, write(kafka, kafka.topics.transactions))
    answer = api.post(path(letter.id), json={"payload": GOOD | {"card_token": PAN}})
    body = assert_problem(answer, 422, "payload.card_token")
    (fault,) = body["errors"]
    assert (fault["in"], fault["field"]) == ("body", "payload.card_token")
    assert fault["detail"].startswith("card_number: ")
    assert PAN not in answer.text
    assert len(messages(kafka, letter.topic)) == 1


@pytest.mark.parametrize("value", ['"\\ud800"', "NaN", "1e999"])
def test_what_python_takes_for_json_is_refused_in_a_correction(api, conn, kafka, value):
    letter = letter_of(conn, write(kafka, kafka.topics.transactions))
    answer = api.post(
        path(letter.id),
        content=f'{{"payload": {{"transaction_id": {value}}}}}',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 422, answer.text


def test_an_unknown_dead_letter_is_404(api):
    assert_problem(api.post(path(77), json={}), 404, "no such dead letter")


def test_a_second_replay_is_409_unless_asked_for(api, conn, kafka):
    letter = letter_of(conn, write(kafka, kafka.topics.transactions), replayed_at=at(1))
    assert_problem(api.post(path(letter.id), json={}), 409, "already")
    assert api.post(path(letter.id), json={"again": True}).status_code == 202


def test_what_cannot_be_replayed_is_409_with_the_way_out(api, conn, kafka):
    letter = letter_of(conn, write(kafka, kafka.topics.transactions), offset=99)
    assert_problem(api.post(path(letter.id), json={}), 409, "give the corrected message")
    put_dead_letter(conn, 1, topic="payments.csv")
    conn.commit()
    answer = api.post(path(letter.id + 1), json={})
    assert_problem(answer, 409, f"only messages of the topics {kafka.topics.transactions} and")


def test_without_kafka_it_is_503(client, conn):
    put_dead_letter(conn, 1)
    conn.commit()
    assert_problem(client.post(path(1), json={}), 503, "TIDEGATE_KAFKA_BROKERS")


def test_while_kafka_is_away_it_is_503_and_reading_goes_on(serve, database, conn):
    put_dead_letter(conn, 1)
    conn.commit()
    app = create_app(database, kafka=Kafka(("127.0.0.1:1",)), pool_size=1)
    client = serve(database, app=app)
    free = app.state.context.replays
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(client.post, path(1), json={}) for _ in range(2)]
        until = time.monotonic() + 5
        while free.acquire(blocking=False):
            free.release()
            assert time.monotonic() < until
            time.sleep(0.05)
        assert_problem(client.post(path(1), json={}), 503, "other dead letters")
        for _ in range(20):
            assert client.get("/v1/dead-letters").status_code == 200
        assert not any(one.done() for one in waiting)
        for one in waiting:
            answer = one.result(30)
            assert_problem(answer, 503, "Kafka did not answer")
            assert answer.headers["retry-after"] == "5"
            assert "127.0.0.1" not in answer.text
    assert conn.execute("SELECT replayed_at FROM dead_letter").fetchall() == [(None,)]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 202),
    ],
)
def test_only_a_body_declared_as_json_triggers_a_replay(api, conn, kafka, headers, status):
    letter = letter_of(conn, write(kafka, kafka.topics.transactions))
    answer = api.post(path(letter.id), content=b'{"again": true}', headers=headers)
    assert answer.status_code == status, answer.text
    assert len(messages(kafka, letter.topic)) == (2 if status == 202 else 1)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"{", "1"),
        (b'{"payload": []}', "payload"),
        (b'{"again": "yes"}', "again"),
        (b'{"id": 4111111111111111}', "id"),
    ],
)
def test_a_body_that_is_wrong_is_422_and_named(api, content, field):
    answer = api.post(path(1), content=content, headers={"content-type": "application/json"})
    body = assert_problem(answer, 422, "")
    assert [(fault["in"], fault["field"]) for fault in body["errors"]] == [("body", field)]
    assert PAN not in answer.text


def test_a_body_that_is_too_large_is_413(api):
    payload = GOOD | {"note": "x" * 200_000}
    assert_problem(api.post(path(1), json={"payload": payload}), 413, "131,072 bytes")


def test_a_session_that_has_replayed_only_reads_again(serve, database, conn, kafka):
    letter = letter_of(conn, write(kafka, kafka.topics.transactions))
    app = create_app(database, kafka=kafka, pool_size=1)
    assert serve(database, app=app).post(path(letter.id), json={}).status_code == 202
    with (
        app.state.context.pool.connection() as same,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        same.execute("DELETE FROM dead_letter")


def test_with_a_role_that_may_only_read_it_is_403_and_two_grants_are_enough(
    serve, database, conn, kafka, reader
):
    letter = letter_of(conn, write(kafka, kafka.topics.transactions))
    role = sql.Identifier(reader)
    api = serve(make_conninfo(database, options=f"-c role={reader}"), kafka=kafka)
    assert_problem(api.post(path(letter.id), json={}), 403, "may only read")
    assert len(messages(kafka, letter.topic)) == 1
    conn.execute(sql.SQL("GRANT UPDATE (replayed_at) ON dead_letter TO {}").format(role))
    conn.execute(sql.SQL("GRANT INSERT ON audit TO {}").format(role))
    conn.commit()
    assert api.post(path(letter.id), json={}).status_code == 202


def test_a_letter_of_the_inbox_goes_there_again_and_needs_no_kafka(client, conn):
    inbox.lock(conn)
    (number,) = inbox.put_payments(conn, ["t-1"], [7], ["{}"])
    letter = letter_of(conn, Written("inbox:payments", 0, number, at(1)))
    answer = client.post(path(letter.id), json={})
    assert answer.status_code == 202
    place = answer.json()
    assert (place["topic"], place["partition"]) == ("inbox:payments", 0)
    assert place["offset"] > number
    refused = client.post(path(letter.id), json={"payload": {"transaction_id": 1}})
    assert refused.status_code == 409  # it was replayed
    refused = client.post(path(letter.id), json={"payload": {}, "again": True})
    assert refused.status_code == 422
    conn.rollback()
    assert [one.number for one in inbox.read(conn, "payments", 0, 9)] == [place["offset"]]

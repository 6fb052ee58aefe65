"""Alerts as files: all of them, as they are at one moment, whatever becomes of who reads."""

from __future__ import annotations

import csv
import io
import time
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from api.routes import exports
from tests.api.keys import OPEN
from tests.api.rows import put_alert

PATH = "/v1/alerts/export"


@pytest.fixture
def database(either_database: str) -> str:
    return either_database


def rows_of(answer):
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def parquet_of(answer):
    assert answer.status_code == 200, answer.text
    return pq.read_table(io.BytesIO(answer.content))


@pytest.fixture
def in_parts(monkeypatch):
    """Few alerts at a time."""
    monkeypatch.setattr(exports, "BATCH", 3)


def test_a_csv_has_every_alert_of_the_filter_in_its_order(client, conn, in_parts):
    ids = [str(put_alert(conn, n, score=n / 10)) for n in range(8)]
    put_alert(conn, 9, card_token="other")
    conn.commit()
    answer = client.get(PATH, params={"card_token": "card-1", "sort": "oldest"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="alerts.csv"'
    assert answer.headers["cache-control"] == "no-store"
    rows = rows_of(answer)
    assert [row["alert_id"] for row in rows] == ids
    first = client.get(f"/v1/alerts/{ids[0]}").json()
    assert rows[0]["event_time"] == "2026-03-01T12:00:00.000000Z"
    for name in ("case_id", "transaction_id", "currency", "amount", "status", "model_version"):
        assert rows[0][name] == first[name]
    assert (rows[0]["amount_minor"], rows[0]["version"]) == ("43000", "1")
    assert (rows[0]["outcome"], rows[0]["snoozed_until"]) == ("", "")
    assert rows[0]["reasons"].startswith('[{"code"')


def test_a_parquet_has_the_same_with_types(client, conn, in_parts):
    ids = [str(put_alert(conn, n)) for n in range(8)]
    conn.commit()
    answer = client.get(PATH, params={"format": "parquet"})
    assert answer.headers["content-disposition"] == 'attachment; filename="alerts.parquet"'
    table = parquet_of(answer)
    assert table["alert_id"].to_pylist() == ids[::-1]
    assert table["event_time"][7].as_py() == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert set(table["amount_minor"].to_pylist()) == {43000}
    assert pq.ParquetFile(io.BytesIO(answer.content)).num_row_groups == 3


def test_no_alerts_are_a_file_without_rows(client):
    assert rows_of(client.get(PATH)) == []
    assert parquet_of(client.get(PATH, params={"format": "parquet"})).num_rows == 0


def test_no_cell_of_text_is_a_formula(client, conn):
    risky = ["=1+1", "+1", "-1", "@a", "\ta", "\ra"]
    for n, text in enumerate(risky):
        put_alert(conn, n, merchant_id=text, transaction_id=f"{text}{n}", score=0.5)
    harmless = 'a, "b"\n=c'
    put_alert(conn, 9, merchant_id=harmless)
    conn.commit()
    rows = rows_of(client.get(PATH, params={"sort": "oldest"}))
    assert [row["merchant_id"] for row in rows] == ["'" + text for text in risky] + [harmless]
    for row in rows:
        for cell in row.values():
            assert not cell or cell[0] not in "=+-@\t\r"
    table = parquet_of(client.get(PATH, params={"format": "parquet", "sort": "oldest"}))
    assert table["merchant_id"].to_pylist() == [*risky, harmless]


@pytest.mark.parametrize(
    "given",
    [{"format": "xlsx"}, {"limit": 3}, {"sort": "amount"}, {"min_score": 2}, {"after": "x"}],
)
def test_what_is_asked_wrongly_is_422(client, given):
    assert client.get(PATH, params=given).status_code == 422


def fill(conn, rows):
    """Alerts with long reasons: more than sockets hold."""
    conn.execute(
        """
        INSERT INTO alert (alert_id, transaction_id, event_time, card_token, terminal_id,
            amount_minor, currency, score, decision, reasons, model_version)
        SELECT gen_random_uuid(), 't' || n, now(), 'card-' || n, 'terminal', n, 'EUR', .5,
            'review', jsonb_build_array(jsonb_build_object(
                'code', 'A', 'weight', 1, 'text', repeat(md5(n::text), 100))), 'v'
        FROM generate_series(1, %s) AS n
        """,
        (rows,),
    )
    conn.commit()


def begun(client):
    """An export of which the first bytes were read and no more, and its reader: it hangs up when
    it is gone."""
    # Compressed, it might fit into what sockets hold.
    stream = client.stream("GET", PATH, headers={"Accept-Encoding": "identity"})
    answer = stream.__enter__()
    assert answer.status_code == 200
    reader = answer.iter_raw(100)
    next(reader)
    return stream, reader


def test_more_exports_than_may_go_on_are_told_to_come_later(serve, database, conn, monkeypatch):
    monkeypatch.setattr(exports, "BATCH", 100)
    fill(conn, 6_000)
    client = serve(database)
    going_on = [begun(client) for _ in range(2)]
    answer = client.get(PATH)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert client.get("/v1/alerts").status_code == 200
    for stream, _ in going_on:
        stream.__exit__(None, None, None)
    until = time.monotonic() + 20
    while (answer := client.get(PATH, params={"card_token": "card-7"})).status_code == 503:
        assert time.monotonic() < until, "exports that were hung up still go on"
        time.sleep(0.1)
    assert len(rows_of(answer)) == 1


def test_who_hangs_up_or_stalls_frees_the_connection(serve, database, conn, monkeypatch):
    monkeypatch.setattr(exports, "BATCH", 100)
    monkeypatch.setattr(exports, "STALLED_SECONDS", 1.0)
    fill(conn, 6_000)
    client = serve(database)
    stalled = begun(client)  # reads no further, and does not hang up
    going_on = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    until = time.monotonic() + 30
    while (conn.execute(going_on).fetchone() or (1,))[0] > 0:
        conn.rollback()
        assert time.monotonic() < until, "its transaction is still there"
        time.sleep(0.1)
    conn.rollback()
    stalled[0].__exit__(None, None, None)
    assert client.get(PATH, params={"card_token": "card-7"}).status_code == 200


def test_an_export_is_of_one_moment(client, conn, monkeypatch):
    monkeypatch.setattr(exports, "BATCH", 100)
    fill(conn, 6_000)
    with client.stream("GET", PATH) as answer:
        parts = answer.iter_bytes()
        text = next(parts)
        conn.execute("DELETE FROM alert WHERE transaction_id <> 't1'")
        fill_more = put_alert(conn, 1)
        conn.commit()
        text += b"".join(parts)
    rows = list(csv.DictReader(io.StringIO(text.decode())))
    assert len({row["transaction_id"] for row in rows}) == 6_000
    assert str(fill_more) not in text.decode()


def test_while_the_database_is_away_it_is_503(serve):
    nowhere = "postgresql:///x?host=/nowhere"
    client = serve(nowhere, pool_timeout=0.5, access=OPEN)
    answer = client.get(PATH)
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"

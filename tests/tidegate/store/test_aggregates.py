"""What is counted is always what is there, whoever writes, refreshes and reads meanwhile."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta

import psycopg
import pytest
from psycopg.errors import QueryCanceled

import migrations
from tests.api.rows import at, put_score
from tidegate.store import aggregates, connection, decisions

HOUR = 3600
RAW = {
    "decision_minute": "minute",
    "decision_hour": "hour",
    "decision_day": "day",
    "terminal_hour": "hour",
    "terminal_day": "day",
    "merchant_hour": "hour",
    "merchant_day": "day",
}


def impatient(conn):
    """Two writers of one test must fail where they would wait for each other."""
    conn.execute("SET lock_timeout = '5s'")
    conn.commit()
    return conn


@pytest.fixture
def plain(conn):
    if aggregates.kind(conn) is aggregates.Kind.CONTINUOUS:
        pytest.skip("about the tables and views of databases without continuous aggregates")
    # On hypertables one who makes a day's chunk is waited for: they are there before the tests.
    for day in range(-4, 3):
        put_score(conn, f"day-{day}", day * 24 * HOUR)
    conn.execute("DELETE FROM score")
    conn.execute("DELETE FROM stale_mark")
    conn.commit()
    return impatient(conn)


@pytest.fixture
def other(plain, database):
    """A second connection."""
    with connection.connect(database, application_name="tidegate-test") as opened:
        yield impatient(opened)
        opened.rollback()


def refresh(database, **given):
    with psycopg.connect(database, autocommit=True) as conn:
        aggregates.refresh(conn, **given)


def counted(conn, name):
    return dict(conn.execute(f"SELECT bucket, sum(decisions) FROM {name} GROUP BY bucket"))


def there(conn, name):
    merchants = "WHERE merchant_id IS NOT NULL" if name.startswith("merchant") else ""
    step = RAW[name]
    query = f"""
        SELECT date_trunc('{step}', event_time, 'UTC'), count(*) FROM score {merchants} GROUP BY 1
    """
    return dict(conn.execute(query))


def check_all(conn):
    for name in aggregates.AGGREGATES:
        assert counted(conn, name) == there(conn, name), name


def live(conn):
    """How many minutes are counted live."""
    return conn.execute("SELECT count(*) FROM stale_minute").fetchone()[0]


def put(conn, *seconds, name="t"):
    for n, second in enumerate(seconds):
        put_score(conn, f"{name}-{n}-{second}", second, merchant_id="m" if n % 2 else None)


def test_an_empty_database_refreshes_to_nothing(plain, database):
    refresh(database)
    check_all(plain)
    assert counted(plain, "decision_day") == {}


def test_rows_count_before_and_after_a_refresh_and_late_ones_at_once(plain, database):
    put(plain, 0, 30, 61, 2 * HOUR, 30 * HOUR)
    check_all(plain)
    plain.commit()
    refresh(database)
    assert live(plain) == 0
    check_all(plain)
    put(plain, 1, 2 * HOUR + 5, -90 * HOUR, name="late")
    assert live(plain) == 3
    check_all(plain)
    plain.commit()
    refresh(database)
    assert live(plain) == 0
    check_all(plain)
    assert sum(counted(plain, "decision_day").values()) == 8


def test_decisions_that_are_stored_already_make_nothing_stale(plain, database, decided):
    part = decided([f"t-{n}" for n in range(200)])
    decisions.write(plain, [part])
    plain.commit()
    assert live(plain) == 4
    refresh(database)
    assert decisions.write(plain, [part]) == 0
    assert live(plain) == 0
    check_all(plain)


def test_a_writer_that_began_before_a_refresh_and_commits_after_is_counted(plain, other, database):
    put(plain, 0)
    plain.commit()
    put(other, 10, name="slow")  # the same minute, not committed yet
    refresh(database)
    assert live(plain) == 0
    assert counted(plain, "decision_minute") == {at(0): 1}
    plain.rollback()
    other.commit()
    assert counted(plain, "decision_minute") == {at(0): 2}
    check_all(plain)
    plain.rollback()
    refresh(database)
    assert live(plain) == 0
    check_all(plain)


def test_a_writer_that_commits_while_a_refresh_runs_is_counted(plain, other, database):
    put(plain, 0)
    plain.commit()
    with psycopg.connect(database, autocommit=True) as slow, slow.transaction():
        slow.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        slow.execute("SELECT count(*) FROM score")  # its snapshot is taken
        put(other, 10, name="meanwhile")
        other.commit()
        slow.execute("SELECT refresh_kept()")
    check_all(plain)
    assert counted(plain, "decision_minute") == {at(0): 2}
    assert live(plain) == 1


def test_a_reader_of_one_snapshot_sees_the_same_before_and_after_a_refresh(plain, other, database):
    put(plain, 0, HOUR)
    plain.commit()
    other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    before = counted(other, "decision_hour")
    put(plain, 20, name="more")
    plain.commit()
    refresh(database)
    assert counted(other, "decision_hour") == before == {at(0): 1, at(HOUR): 1}
    check_all(other)


def test_refreshes_take_turns_and_hold_up_neither_writers_nor_readers(plain, other, database):
    other.execute("LOCK TABLE decision_minute_kept IN SHARE UPDATE EXCLUSIVE MODE")
    put(plain, 0)
    check_all(plain)
    plain.commit()
    with psycopg.connect(database, autocommit=True) as second:
        second.execute("SET statement_timeout = '200ms'")
        with pytest.raises(QueryCanceled):
            aggregates.refresh(second)
        second.execute("RESET statement_timeout")
        other.rollback()
        aggregates.refresh(second)
    assert live(plain) == 0


def test_writers_of_one_minute_do_not_wait_for_each_other(plain, other):
    put(other, 0, 60, name="first")
    put(plain, 60, 0, name="second")  # in the other order: shared marks would wait, or deadlock
    other.commit()
    plain.commit()
    check_all(plain)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_writes_commits_rollbacks_and_refreshes_counts_right(
    plain, other, database, seed
):
    draw = random.Random(seed)
    writers = (plain, other)
    for turn in range(60):
        writer = draw.choice(writers)
        match draw.choice(("write", "write", "write", "commit", "rollback", "refresh", "read")):
            case "write":
                put(writer, *(draw.randrange(3 * HOUR) for _ in range(3)), name=f"{turn}")
            case "commit":
                writer.commit()
            case "rollback":
                writer.rollback()
            case "refresh":
                refresh(database)
            case "read":
                check_all(writer)
    for writer in writers:
        writer.commit()
    check_all(plain)
    plain.rollback()
    refresh(database)
    assert live(plain) == 0
    check_all(plain)


def test_what_is_final_keeps_its_counts_when_raw_rows_go_and_late_ones_come(plain, database):
    put(plain, 0, 30, 90, HOUR, 40 * HOUR)
    plain.commit()
    before = {name: counted(plain, name) for name in aggregates.AGGREGATES}
    plain.rollback()
    refresh(database, final_before=at(HOUR + 1))  # rounded up to at(2 * HOUR)
    plain.execute("DELETE FROM score WHERE event_time < %s", (at(HOUR + 1),))
    put(plain, 5, HOUR + 5, name="late")
    plain.commit()
    for _ in range(2):
        assert {name: counted(plain, name) for name in aggregates.AGGREGATES} == before
        plain.rollback()
        refresh(database, final_before=at(0))  # never goes back
    put(plain, 2 * HOUR, name="later")
    assert sum(counted(plain, "decision_day").values()) == 6
    plain.commit()
    refresh(database)
    assert sum(counted(plain, "decision_day").values()) == 6
    assert live(plain) == 0


def test_a_refresh_wants_a_connection_of_its_own(plain, database):
    with pytest.raises(ValueError, match="autocommit"):
        aggregates.refresh(plain)
    with (
        psycopg.connect(database, autocommit=True) as conn,
        conn.transaction(),
        pytest.raises(ValueError, match="autocommit"),
    ):
        aggregates.refresh(conn)


def explained(conn, query, *values):
    lines = [row[0] for row in conn.execute(f"EXPLAIN (ANALYZE, BUFFERS OFF) {query}", values)]
    return Counter(
        word for word in ("Seq Scan on score", "score_event_time") for line in lines if word in line
    ), lines


def test_thirty_days_by_the_hour_are_read_without_a_scan_of_score(plain, database):
    rows = [at(HOUR * n / 4) for n in range(30 * 24 * 4)]
    plain.execute(
        """
        INSERT INTO score (transaction_id, event_time, card_token, terminal_id, amount_minor,
            currency, score, log_odds, decision, model_version, policy_version, features, reasons,
            scored_at, stream_time)
        SELECT 't-' || n, t, 'c', 'x', 1, 'EUR', .1, 0, 'approve', 'v', 'p', '', '[]', t, t
        FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS rows (t, n)
        """,
        (rows,),
    )
    plain.commit()
    refresh(database)
    put(plain, HOUR * 24 * 30 - 1, name="newest")
    plain.execute("ANALYZE")
    check_all(plain)
    plain.execute("SET enable_seqscan = off")
    span: tuple[datetime, datetime] = (at(0), at(0) + timedelta(days=30))
    for name in ("decision_minute", "decision_hour", "decision_day", "merchant_hour"):
        query = f"SELECT * FROM {name} WHERE bucket >= %s AND bucket < %s"
        words, lines = explained(plain, query, *span)
        assert words["Seq Scan on score"] == 0, lines
        assert words["score_event_time"] > 0, lines


def test_continuous_aggregates_are_refreshed_but_not_where_all_is_final(timescale):
    migrations.upgrade(timescale)
    with psycopg.connect(timescale, autocommit=True, prepare_threshold=None) as conn:
        conn.execute("SET TIME ZONE 'UTC'")
        put(conn, 0, 30, 61, 2 * HOUR, 30 * HOUR)
        check_all(conn)  # all of it live
        aggregates.refresh(conn)
        check_all(conn)
        put(conn, 1, 2 * HOUR + 5, -90 * HOUR, name="late")
        put(conn, 100 * HOUR, name="newer")
        aggregates.refresh(conn, final_before=at(60 * HOUR))
        check_all(conn)
        before = counted(conn, "decision_hour")
        conn.execute("DELETE FROM score WHERE event_time < %s", (at(60 * HOUR),))
        aggregates.refresh(conn)
        assert counted(conn, "decision_hour") == before


def test_what_was_counted_outlives_chunks_that_a_policy_dropped_unannounced(timescale):
    migrations.upgrade(timescale)
    with psycopg.connect(timescale, autocommit=True, prepare_threshold=None) as conn:
        for days in range(4):
            put(conn, days * 24 * HOUR)
        aggregates.refresh(conn)
        before = counted(conn, "decision_hour")
        conn.execute("SELECT drop_chunks('score', older_than => %s::timestamptz)", (at(49 * HOUR),))
        assert conn.execute("SELECT count(*) FROM score").fetchone() == (2,)
        aggregates.refresh(conn)
        assert counted(conn, "decision_hour") == before

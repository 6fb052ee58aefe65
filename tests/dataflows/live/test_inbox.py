"""A run from the inbox beside a run from files, and payments that somebody waits for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflows.runner import run
from tests.dataflows.streams import SCORES, a_run, payments, query, simulated, write
from tests.faults.cluster import CONTROL, Cluster, wait_for
from tests.inbox import put as put_messages
from tests.kafka.broker import Broker
from tidegate import inbox_replay
from tidegate.kafka import incoming
from tidegate.schema import SECOND, Batch, Labels
from tidegate.settings import Topics
from tidegate.store import connection, inbox, queries
from tidegate.store.queries import DeadLetterFilter

ROWS, DAYS, SEED = 3_000, 6, 31
MATURITY_DAYS = 2.0


def put(database: str, batch: Batch, told: Labels | None = None, at_once: int = 500) -> None:
    """Puts payments, so many in a transaction, and then labels."""
    messages = list(incoming.transactions(batch))
    for start in range(0, len(messages), at_once):
        put_messages(database, messages[start : start + at_once])
    if told is not None:
        put_messages(database, (), list(incoming.labels(told)))


@pytest.mark.usefixtures("signals")
def test_a_backlog_in_the_inbox_is_decided_to_the_bit_as_the_same_payments_from_files(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    batch, told = simulated(ROWS, DAYS, SEED)
    from_files, from_inbox = new_database(), new_database()
    settings = {"maturity_days": MATURITY_DAYS, "review": 0.02, "decline": 0.3, "control": CONTROL}
    assert run(a_run(from_files, tmp_path / "files", write(tmp_path, batch, told), **settings))
    put(from_inbox, batch, told)
    days = str(MATURITY_DAYS)
    cluster = Cluster(from_inbox, None, Topics(), tmp_path, TIDEGATE_MATURITY_DAYS=days)
    cluster.start(2)
    try:
        wait_for(cluster, from_inbox, ROWS)
        cluster.stop()
    finally:
        cluster.kill_everything()
    wanted, found = query(from_files, SCORES), query(from_inbox, SCORES)
    assert len({row[12] for row in found}) > 1, "everything was decided alike"
    differing = [row[0] for row, other in zip(wanted, found, strict=True) if row != other]
    assert not differing, f"{len(differing)} of {ROWS} differ, the first is {differing[0]}"
    # What was read is noted with the last snapshot, so that it may go one day.
    last: dict[str, int] = dict(
        query(from_inbox, "SELECT kind, max(number) + 1 FROM inbox GROUP BY kind")
    )
    assert dict(query(from_inbox, "SELECT kind, number FROM inbox_read")) == last


def fresh(first: int, count: int) -> Batch:
    """Payments of now, of many cards."""
    now = int(time.time()) * SECOND
    ids = [f"fresh-{first + n}" for n in range(count)]
    cards = [f"card-{(first + n) % 40}" for n in range(count)]
    return payments(ids, [now] * count, cards=cards)


def test_kills_lose_and_double_nothing(database: str, tmp_path: Path) -> None:
    cluster = Cluster(database, None, Topics(), tmp_path)
    cluster.start(1)
    try:
        cluster.wait_ready()
        for number in range(6):
            put(database, fresh(number * 200, 200), at_once=20)
            if number in (1, 3):
                cluster.kill_workers()
            elif number == 4:
                cluster.kill_supervisor()
                cluster.start()
        wait_for(cluster, database, 1_200)
        cluster.stop()
    finally:
        cluster.kill_everything()
    counted = query(database, "SELECT count(*), count(DISTINCT transaction_id) FROM score")
    assert counted == [(1_200, 1_200)]


def test_what_is_put_while_it_waits_is_decided_at_once(database: str, tmp_path: Path) -> None:
    cluster = Cluster(database, None, Topics(), tmp_path)
    cluster.start(1)
    try:
        cluster.wait_ready()
        put(database, fresh(0, 1))
        wait_for(cluster, database, 1)
        started = time.monotonic()
        put(database, fresh(1, 1))
        wait_for(cluster, database, 2)
        # Not a matter of speed: the database is asked every quarter of a second by itself, and
        # snapshots are taken twice a second.
        assert time.monotonic() - started < 30
        cluster.stop()
    finally:
        cluster.kill_everything()


def test_what_is_read_is_behind_until_it_is_decided_and_stored(
    database: str, tmp_path: Path
) -> None:
    behind = f'tidegate_consumer_lag{{partition="0",topic="{inbox.topic("payments")}"}}'
    cluster = Cluster(database, None, Topics(), tmp_path)
    cluster.start(1)
    try:
        cluster.wait_ready()
        cluster.wait_metric(behind, 0)
        # It is read, and nothing stored. With payments before these, it would be left to chance
        # whether the flow has heard of them when it stands still.
        with connection.connect(database, application_name="tidegate-test") as conn:
            conn.execute("LOCK TABLE score IN EXCLUSIVE MODE")
            put(database, fresh(0, 20))
            cluster.wait_metric(behind, 20)
        wait_for(cluster, database, 20)
        cluster.wait_metric(behind, 0)
        cluster.stop()
    finally:
        cluster.kill_everything()


def test_a_run_from_kafka_reads_the_inbox_too(
    broker: Broker, topics: Topics, database: str, tmp_path: Path
) -> None:
    cluster = Cluster(database, broker.address, topics, tmp_path)
    cluster.start(2)
    try:
        cluster.wait_ready()
        put(database, fresh(0, 50))
        wait_for(cluster, database, 50)
        cluster.kill_workers()
        put(database, fresh(50, 50))
        wait_for(cluster, database, 100)
        cluster.stop()
    finally:
        cluster.kill_everything()
    assert query(database, "SELECT count(*) FROM score") == [(100,)]


def test_a_dead_letter_that_is_replayed_corrected_is_decided(database: str, tmp_path: Path) -> None:
    cluster = Cluster(database, None, Topics(), tmp_path)
    cluster.start(1)
    try:
        with connection.connect(database, application_name="tidegate-test") as conn:
            inbox.lock(conn)
            inbox.put_payments(conn, ["wrong"], [0], ['{"transaction_id": 1}'])
            conn.commit()
            deadline = time.monotonic() + 60
            while not (letters := queries.dead_letters(conn, DeadLetterFilter(), limit=2)):
                assert time.monotonic() < deadline, cluster.said()
                conn.rollback()
                time.sleep(0.05)
            (letter,) = letters
            message = incoming.transactions(fresh(0, 1))[0]
            inbox_replay.replay(conn, letter, correction=message, actor="ann", again=False)
            conn.commit()
        wait_for(cluster, database, 1)
        cluster.stop()
    finally:
        cluster.kill_everything()
    assert query(database, "SELECT count(*) FROM dead_letter") == [(1,)]

"""Totals say what a count would, whatever is written and by how many at once."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import numpy as np
import pytest

import migrations
from tests.api.rows import at, put_alert, put_dead_letter, put_label
from tidegate.schema import SECOND, DeadLetters, Labels, nothing, texts
from tidegate.store import connection, dead_letters, labels, totals
from tidegate.store.connection import Conn

SOURCES = ["chargeback", "issuer", "customer", "analyst"]


@pytest.fixture
def conn(everywhere: Conn) -> Conn:
    return everywhere


def counted(conn: Conn) -> totals.Kept:
    """By reading everything."""

    def rows(query: str) -> list[tuple[str, str, int]]:
        return conn.execute(query.encode()).fetchall()

    return totals.Kept(
        alerts={
            (decision, status): number
            for decision, status, number in rows(
                "SELECT decision, status, count(*) FROM alert GROUP BY 1, 2"
            )
        },
        labels={s: n for s, _, n in rows("SELECT source, '', count(*) FROM label GROUP BY 1")},
        frauds=rows("SELECT '', '', count(*) FROM standing_label WHERE fraud")[0][2],
        dead_letters={
            r: n for r, _, n in rows("SELECT reason, '', count(*) FROM dead_letter GROUP BY 1")
        },
    )


def random_labels(chosen: random.Random) -> Labels:
    """Of few payments and moments: they repeat, contradict one another and come late."""
    rows = chosen.randint(1, 12)
    return Labels(
        texts([f"t{chosen.randrange(6)}" for _ in range(rows)]),
        np.array([chosen.randrange(8) * SECOND for _ in range(rows)]),
        np.array([chosen.random() < 0.5 for _ in range(rows)]),
        texts([chosen.choice(SOURCES) for _ in range(rows)]),
        nothing(rows),
    )


def random_letters(chosen: random.Random) -> DeadLetters:
    rows = chosen.randint(1, 5)
    return DeadLetters(
        topic=texts(["transactions"] * rows),
        partition=np.zeros(rows, np.int64),
        offset=np.array([chosen.randrange(20) for _ in range(rows)]),
        at=np.full(rows, SECOND),
        reason=texts([chosen.choice(["malformed", "card_number"]) for _ in range(rows)]),
        field=nothing(rows),
        detail=texts(["wrong"] * rows),
        payload=texts(["{"] * rows),
    )


@pytest.mark.parametrize("seed", range(6))
def test_totals_are_what_a_count_says_after_each_change(conn: Conn, seed: int) -> None:
    chosen = random.Random(seed)
    alerts: list[UUID] = []
    for number in range(25):
        kind = chosen.randrange(4)
        if kind == 0:
            labels.write(conn, random_labels(chosen))
        elif kind == 1:
            dead_letters.write(conn, random_letters(chosen))
        elif kind == 2 or not alerts:
            decision = chosen.choice(["review", "decline"])
            alerts.append(put_alert(conn, number, transaction_id=f"t{number}", decision=decision))
        else:
            some = chosen.sample(alerts, chosen.randint(1, len(alerts)))
            status = chosen.choice(["open", "investigating", "closed"])
            conn.execute(
                "UPDATE alert SET status = %s, outcome = %s WHERE alert_id = ANY(%s)",
                (status, "unclear" if status == "closed" else None, some),
            )
        assert totals.read(conn) == counted(conn)
    assert totals.recount(conn) == 0


def test_what_is_wrong_is_put_right_by_a_recount(conn: Conn) -> None:
    put_label(conn, "t1", 1, fraud=True)
    put_alert(conn, 1)
    put_dead_letter(conn, 1)  # by nobody who counts
    conn.execute("UPDATE total SET count = count + 5 WHERE kind = 'fraud'")
    conn.execute("DELETE FROM total WHERE kind = 'label'")
    assert totals.read(conn) != counted(conn)
    assert totals.recount(conn) == 3
    assert totals.read(conn) == counted(conn)
    conn.execute("DELETE FROM dead_letter")
    assert totals.recount(conn) == 1
    assert totals.read(conn).dead_letters == {}


def test_who_writes_at_once_does_not_wait_and_nothing_is_missed(database: str) -> None:
    def write(session: int) -> None:
        with connection.connect(database, application_name="test") as conn:
            conn.execute("SET lock_timeout = '10s'")
            for number in range(20):
                put_label(conn, f"t{session}-{number}", number, fraud=True)
                put_alert(conn, number, transaction_id=f"t{session}-{number}")
                conn.commit()

    def recount() -> None:
        with connection.connect(database, application_name="test") as conn:
            for _ in range(10):
                assert totals.recount(conn) == 0
                conn.commit()

    with ThreadPoolExecutor(5) as sessions:
        done = [*(sessions.submit(write, n) for n in range(4)), sessions.submit(recount)]
        for one in done:
            one.result()
    with connection.connect(database, application_name="test") as conn:
        kept = totals.read(conn)
        assert (kept.labels, kept.frauds) == ({"chargeback": 80}, 80)
        assert Counter(kept.alerts.values()).total() == 1
        assert sum(kept.alerts.values()) == 80
        assert kept == counted(conn)


def test_a_schema_counts_what_was_there_before_it(empty_database: str) -> None:
    migrations.upgrade(empty_database, "0014")
    with connection.connect(empty_database, application_name="test") as conn:
        for n in range(5):
            put_alert(conn, n, transaction_id=f"t{n}")
            put_label(conn, f"t{n}", n, fraud=n % 2 == 0)
            put_dead_letter(conn, n, at=at(n))
    migrations.upgrade(empty_database)
    with connection.connect(empty_database, application_name="test") as conn:
        assert totals.read(conn) == counted(conn)
        assert totals.read(conn).frauds == 3

"""The label history grows, and one label of each transaction stands."""

from __future__ import annotations

import numpy as np
import pytest

from tidegate.schema import DAY, Labels, texts, to_datetime
from tidegate.store import labels
from tidegate.store.connection import Conn

Row = tuple[str, int, bool, str, str | None]


def made(*rows: Row) -> Labels:
    ids, at, fraud, source, reason = zip(*rows, strict=True) if rows else ((),) * 5
    return Labels(
        transaction_id=texts(ids),
        labelled_at=np.array(at, dtype=np.int64),
        fraud=np.array(fraud, dtype=np.bool_),
        source=texts(source),
        reason=texts(reason),
    )


def test_labels_are_stored_as_they_are(conn: Conn) -> None:
    labels.write(
        conn, made(("t1", DAY, True, "chargeback", "lost card"), ("t2", 1, False, "analyst", None))
    )
    rows = conn.execute(
        "SELECT transaction_id, labelled_at, fraud, source, reason FROM label ORDER BY 1"
    ).fetchall()
    assert rows == [
        ("t1", to_datetime(DAY), True, "chargeback", "lost card"),
        ("t2", to_datetime(1), False, "analyst", None),
    ]


def test_a_label_that_arrives_twice_is_kept_once(conn: Conn) -> None:
    first = ("t1", DAY, True, "issuer", "first")
    again = ("t1", DAY, False, "issuer", "again")
    labels.write(conn, made(first, again))
    labels.write(conn, made(again))
    assert conn.execute("SELECT fraud, reason FROM label").fetchall() == [(True, "first")]


@pytest.mark.parametrize("order", [1, -1])
def test_the_newest_label_stands_whatever_came_first(conn: Conn, order: int) -> None:
    history = [
        ("t1", 1 * DAY, True, "issuer", None),
        ("t1", 3 * DAY, False, "analyst", "travelling"),
        ("t1", 2 * DAY, True, "chargeback", None),
    ]
    for row in history[::order]:
        labels.write(conn, made(row))
    standing = conn.execute("SELECT transaction_id, fraud, reason FROM standing_label").fetchall()
    assert standing == [("t1", False, "travelling")]


@pytest.mark.parametrize("order", [1, -1])
def test_at_equal_times_fraud_stands(conn: Conn, order: int) -> None:
    history = [("t1", DAY, False, "analyst", None), ("t1", DAY, True, "issuer", None)]
    labels.write(conn, made(*history[::order]))
    assert conn.execute("SELECT fraud, source FROM standing_label").fetchall() == [(True, "issuer")]


def test_no_labels_are_no_error(conn: Conn) -> None:
    labels.write(conn, made())
    assert conn.execute("SELECT count(*) FROM label").fetchone() == (0,)

"""Decisions are written once, whole, and with their alerts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, LiteralString

import numpy as np
import psycopg
import pytest

from tidegate.schema import DAY, Decision, Decisions, to_datetime
from tidegate.store import connection, decisions
from tidegate.store import decided as decided_ones
from tidegate.store.connection import Conn

MakeDecisions = Callable[..., Decisions]

REASONS = [{"code": "card_amount", "weight": 1.25, "text": "far above the card's usual ✓"}]


def column(conn: Conn, query: LiteralString) -> list[Any]:
    return [row[0] for row in conn.execute(query).fetchall()]


def test_a_decision_is_stored_with_all_that_it_was_made_of(
    conn: Conn, decided: MakeDecisions
) -> None:
    part = decided(
        ["t1", "t2"],
        decisions=[Decision.APPROVE, Decision.DECLINE],
        reasons=[[], REASONS],
        merchant_id=["m1", None],
        channel=[None, "ecom"],
        mcc=["5411", None],
        latitude=[np.float64(48.25), None],
        attributes=[{"loyalty": ["a", 1, None]}, None],
    )
    assert decisions.write(conn, [part]) == 2
    rows = conn.execute("SELECT * FROM score ORDER BY transaction_id").fetchall()
    at = part.batch.event_time.tolist()
    times = to_datetime(part.scored_at), to_datetime(part.stream_time)
    assert rows == [
        (
            *("t1", to_datetime(at[0]), "card-0", "terminal-0", 1000, "EUR"),
            *("m1", None, None),
            {"mcc": "5411", "latitude": 48.25, "attributes": {"loyalty": ["a", 1, None]}},
            *(0.0, -2, "approve", "m1", "p1", part.features[0].tobytes(), [], *times, 0.0),
        ),
        (
            *("t2", to_datetime(at[1]), "card-1", "terminal-1", 1001, "EUR"),
            *(None, None, "ecom", None),
            *(1.0, -1, "decline", "m1", "p1", part.features[1].tobytes(), REASONS, *times, 1.0),
        ),
    ]


def test_whatever_is_not_approved_raises_one_alert(conn: Conn, decided: MakeDecisions) -> None:
    part = decided(
        ["t1", "t2", "t3"],
        decisions=[Decision.REVIEW, Decision.APPROVE, Decision.DECLINE],
        reasons=[REASONS, [], REASONS],
        merchant_id=["m1", "m2", None],
    )
    decisions.write(conn, [part])
    rows = conn.execute(
        "SELECT alert_id, transaction_id, event_time, card_token, terminal_id, merchant_id,"
        " amount_minor, currency, score, decision, reasons, model_version, status"
        " FROM alert ORDER BY transaction_id"
    ).fetchall()
    first, last = (to_datetime(at) for at in part.batch.event_time.tolist()[::2])
    assert rows == [
        (
            *(decisions.alert_id("t1"), "t1", first, "card-0", "terminal-0", "m1"),
            *(1000, "EUR", 0.0, "review", REASONS, "m1", "open"),
        ),
        (
            *(decisions.alert_id("t3"), "t3", last, "card-2", "terminal-0", None),
            *(1002, "EUR", 1.0, "decline", REASONS, "m1", "open"),
        ),
    ]


def test_the_first_decision_written_stands(conn: Conn, decided: MakeDecisions) -> None:
    assert decisions.write(conn, [decided(["t1", "t2"], model_version="first")]) == 2
    conn.commit()
    again = decided(
        ["t1", "t2", "t3"],
        decisions=[Decision.DECLINE] * 3,
        reasons=[REASONS] * 3,
        model_version="second",
    )
    assert decisions.write(conn, [again]) == 1
    conn.commit()
    assert column(conn, "SELECT model_version FROM score ORDER BY transaction_id") == [
        *("first", "first", "second")
    ]
    # A repeat that decides otherwise raises no alert against the decision that stands.
    assert column(conn, "SELECT transaction_id FROM alert") == ["t3"]


def test_a_replay_does_not_open_an_alert_again(conn: Conn, decided: MakeDecisions) -> None:
    part = decided(["t1"], decisions=[Decision.REVIEW], reasons=[REASONS])
    decisions.write(conn, [part])
    conn.execute("UPDATE alert SET status = 'closed'")
    conn.commit()
    assert decisions.write(conn, [part]) == 0
    assert column(conn, "SELECT status FROM alert") == ["closed"]


def test_of_repeats_in_one_call_the_first_is_written(conn: Conn, decided: MakeDecisions) -> None:
    approved = decided(["t1"], model_version="first")
    declined = decided(
        ["t1"], decisions=[Decision.DECLINE], reasons=[REASONS], model_version="second"
    )
    other = decided(["t2"], decisions=[Decision.REVIEW], reasons=[REASONS])
    assert decisions.write(conn, [approved, declined, other, other]) == 2
    assert column(conn, "SELECT model_version FROM score WHERE transaction_id = 't1'") == ["first"]
    assert column(conn, "SELECT transaction_id FROM alert") == ["t2"]


def test_calls_in_one_transaction_do_not_mix(conn: Conn, decided: MakeDecisions) -> None:
    assert decisions.write(conn, [decided(["t1"])]) == 1
    assert decisions.write(conn, [decided(["t2"])]) == 1
    conn.rollback()
    # The rollback took the temporary table with it.
    assert decisions.write(conn, [decided(["t1", "t2"])]) == 2


def test_parts_may_differ_in_model_and_in_features(conn: Conn, decided: MakeDecisions) -> None:
    parts = [decided(["t1"], width=2, model_version="a"), decided(["t2"], width=50)]
    assert decisions.write(conn, [*parts, decided([])]) == 2
    assert column(conn, "SELECT length(features) FROM score ORDER BY transaction_id") == [8, 200]


def test_nothing_to_write_is_no_error(conn: Conn, decided: MakeDecisions) -> None:
    assert decisions.write(conn, []) == 0
    assert decisions.write(conn, [decided([])]) == 0


def test_text_of_any_length_and_script_comes_back(conn: Conn, decided: MakeDecisions) -> None:
    ids = ["", "ж" * 64, "x" * 5_000, "🂡 \t\n\\.", "t"]
    decisions.write(conn, [decided(ids, merchant_id=["", "ñ" * 2_000, None, "\\N", "m"])])
    stored = dict(conn.execute("SELECT transaction_id, merchant_id FROM score").fetchall())
    assert stored == dict(zip(ids, ["", "ñ" * 2_000, None, "\\N", "m"], strict=True))


def test_times_before_2000_and_far_ahead_are_kept(conn: Conn, decided: MakeDecisions) -> None:
    early, late = -10_000 * DAY - 1, 100_000 * DAY + 1
    decisions.write(conn, [decided(["a"], start=early), decided(["b"], start=late)])
    assert column(conn, "SELECT event_time FROM score ORDER BY event_time") == [
        to_datetime(early),
        to_datetime(late),
    ]


def test_a_failed_write_leaves_nothing(conn: Conn, decided: MakeDecisions) -> None:
    bad = decided(["t1", "has\0nul"])
    with pytest.raises(psycopg.DataError):
        decisions.write(conn, [bad])
    conn.rollback()
    assert column(conn, "SELECT count(*) FROM score") == [0]


def test_nothing_is_committed(database: str, conn: Conn, decided: MakeDecisions) -> None:
    decisions.write(conn, [decided(["t1"], decisions=[Decision.REVIEW], reasons=[REASONS])])
    with connection.connect(database, application_name="other") as other:
        assert column(other, "SELECT count(*) FROM score") == [0]
        assert column(other, "SELECT count(*) FROM alert") == [0]


def test_what_stands_of_payments_is_told_by_id_and_time(conn: Conn, decided: MakeDecisions) -> None:
    part = decided(["t1", "t2"], decisions=[Decision.APPROVE, Decision.REVIEW])
    decisions.write(conn, [part])
    times = part.batch.event_time.tolist()
    found = decisions.standing(conn, ["t1", "t2", "t3"], [times[0], times[0], times[0]])
    assert found.keys() == {("t1", times[0])}  # of t2 nothing was decided at that time
    found = decisions.standing(conn, ["t2"], [times[1]])
    ((_, at, score, decision, *_),) = found.values()
    assert (at, score, decision) == (times[1], 1.0, "review")
    asked = decided_ones.get(conn, [("t1", times[0]), ("t3", times[0])])
    assert [one.decision for one in asked.values()] == ["approve"]
    decided_ones.tell(conn)

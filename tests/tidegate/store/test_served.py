"""What was served comes back to the bit, in the order of time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.tidegate.store.conftest import START
from tidegate.schema import DAY, SECOND, Decision, Decisions
from tidegate.store import decisions, served
from tidegate.store.connection import Conn

MakeDecisions = Callable[..., Decisions]

EVER = (-(2**63), 2**63 - 1)


def test_rows_come_back_as_they_were_served(conn: Conn, decided: MakeDecisions) -> None:
    part = decided(["t1", "t2", "t3"], width=5, decisions=list(Decision))
    part.features[1] = [np.nan, np.inf, -0.0, 1e-45, 3.4e38]
    decisions.write(conn, [part])
    rows = served.between(conn, *EVER)
    assert rows.transaction_id.tolist() == ["t1", "t2", "t3"]
    assert rows.event_time.tolist() == part.batch.event_time.tolist()
    assert rows.card_token.tolist() == part.batch.card_token.tolist()
    assert rows.terminal_id.tolist() == part.batch.terminal_id.tolist()
    assert rows.features.dtype == np.float32
    assert rows.features.tobytes() == part.features.tobytes()
    assert rows.log_odds.tolist() == part.log_odds.tolist()
    assert rows.stream_time.tolist() == [part.stream_time] * 3
    assert rows.declined.tolist() == [False, False, True]
    assert rows.propensity.tolist() == part.propensity.tolist() == [0.0, 0.5, 1.0]
    conn.execute("UPDATE score SET propensity = NULL")  # as earlier releases wrote it
    assert served.between(conn, *EVER).propensity.tolist() == [1.0] * 3


def test_a_span_is_open_at_its_start_and_closed_at_its_end(
    conn: Conn, decided: MakeDecisions
) -> None:
    part = decided(["t1", "t2", "t3", "t4"])
    decisions.write(conn, [part])
    at = part.batch.event_time.tolist()
    assert served.between(conn, at[0], at[2]).transaction_id.tolist() == ["t2", "t3"]
    assert served.between(conn, at[0] - 1, at[2] - 1).transaction_id.tolist() == ["t1", "t2"]
    assert len(served.between(conn, at[3], at[3] + DAY)) == 0


def test_equal_times_are_ordered_by_id_byte_by_byte(conn: Conn, decided: MakeDecisions) -> None:
    for name in ("b", "B", "a", "_", "é", "Z", "10", "9"):
        decisions.write(conn, [decided([name])])
    decisions.write(conn, [decided(["zz"], start=0)])
    expected = ["zz", "10", "9", "B", "Z", "_", "a", "b", "é"]
    assert served.between(conn, *EVER).transaction_id.tolist() == expected
    assert served.by_ids(conn, expected[::-1], START).transaction_id.tolist() == expected


def test_ids_that_are_not_stored_are_left_out(conn: Conn, decided: MakeDecisions) -> None:
    decisions.write(conn, [decided(["t1", "t2", "t3"])])
    found = served.by_ids(conn, ["t3", "nobody", "t1", "t1"], START)
    assert found.transaction_id.tolist() == ["t1", "t3"]


def test_payments_of_any_age_are_found_by_their_ids(conn: Conn, decided: MakeDecisions) -> None:
    ages = [-1, 0, 1, 13, 14, 15, 44, 45, 46, 90, 91, 5_000]
    ids = [f"t{age}" for age in ages]
    for name, age in zip(ids, ages, strict=True):
        decisions.write(conn, [decided([name], start=START - age * DAY)])
    found = served.by_ids(conn, ids, START + DAY)
    assert found.transaction_id.tolist() == ids[::-1]
    assert served.by_ids(conn, ["t5000"], START).transaction_id.tolist() == ["t5000"]


def test_what_was_decided_later_is_not_found_yet(conn: Conn, decided: MakeDecisions) -> None:
    decisions.write(conn, [decided(["t1"], start=START)])  # its stream time is a second before
    assert len(served.by_ids(conn, ["t1"], START - SECOND)) == 0
    assert len(served.by_ids(conn, ["t1"], START - SECOND + 1)) == 1


def test_of_an_id_that_was_used_again_the_newer_use_before_now_is_found(
    conn: Conn, decided: MakeDecisions
) -> None:
    for age in (100, 50, 0):
        decisions.write(conn, [decided(["t1"], start=START - age * DAY)])
    for now, age in ((START, 0), (START - DAY, 50), (START - 60 * DAY, 100)):
        (at,) = served.by_ids(conn, ["t1"], now).event_time.tolist()
        assert at == START - age * DAY


@pytest.mark.parametrize("ids", [[], ["nobody"]])
def test_no_rows_are_empty_columns(conn: Conn, ids: list[str]) -> None:
    rows = served.by_ids(conn, ids, START)
    assert len(rows) == 0
    assert rows.features.shape == (0, 0)
    assert rows.event_time.dtype == rows.log_odds.dtype == np.int64


def test_features_that_an_earlier_release_did_not_know_are_missing(
    conn: Conn, decided: MakeDecisions
) -> None:
    decisions.write(conn, [decided(["t1"], width=2), decided(["t2"], width=3)])
    for found in (
        served.between(conn, *EVER, 4),
        served.by_ids(conn, ["t1", "t2"], START, 4),
    ):
        assert np.isnan(found.features).tolist() == [
            [False, False, True, True],
            [False] * 3 + [True],
        ]
    assert served.between(conn, *EVER).features.shape == (2, 3)
    assert served.by_ids(conn, ["nobody"], START, 4).features.shape == (0, 4)


def test_times_are_exact_to_the_microsecond(conn: Conn, decided: MakeDecisions) -> None:
    start = 32_503_680_000 * SECOND + 123_457  # the year 3000, beyond what a float holds exactly
    decisions.write(conn, [decided(["t1"], start=start)])
    assert served.between(conn, start - 1, start).event_time.tolist() == [start]

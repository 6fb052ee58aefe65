"""A sample of decisions: spread over time, none twice, and all where there are no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tidegate.store.conftest import START
from tidegate.schema import HOUR, SECOND, Decisions, to_micros
from tidegate.store import decisions, models, replays
from tidegate.store.connection import Conn

MakeDecisions = Callable[..., Decisions]


def names(rows: range) -> list[str]:
    return [f"t{row:05}" for row in rows]


def sampled(conn: Conn, most: int) -> list[str]:
    return [row.transaction_id for run in replays.sample(conn, most) for row in run]


def test_one_comes_back_with_what_it_was_made_from(conn: Conn, decided: MakeDecisions) -> None:
    part = decided(["t1", "t2"], width=5, model_version="m7")
    decisions.write(conn, [part])
    found = replays.made(conn, "t2")
    assert found is not None
    assert found.features == part.features[1].tobytes()
    assert (found.log_odds, found.decision) == (part.log_odds[1], "approve")
    assert (found.model_version, found.policy_version) == ("m7", "p1")
    assert to_micros(found.event_time) == part.batch.event_time[1]
    assert replays.made(conn, "t3") is None


@pytest.mark.parametrize("rows", [0, 1, 250])
def test_of_few_all_are_taken_in_the_order_of_time(
    conn: Conn, decided: MakeDecisions, rows: int
) -> None:
    decisions.write(conn, [decided(names(range(rows)))] if rows else [])
    assert sampled(conn, 250) == names(range(rows))


def test_of_many_as_many_as_asked_are_taken_and_none_twice(
    conn: Conn, decided: MakeDecisions
) -> None:
    # Nearly all within an hour, and then nothing for a day but one.
    decisions.write(conn, [decided(names(range(3000)))])
    decisions.write(conn, [decided(["last"], start=START + 24 * HOUR)])
    found = sampled(conn, 700)
    assert len(set(found)) == len(found)
    assert "last" in found or len(found) == 700
    assert found[0] == "t00000"
    evenly = 3000 * SECOND
    decisions.write(conn, [decided([f"u{n:05}" for n in range(3000)], start=START + evenly)])
    conn.execute("DELETE FROM score WHERE transaction_id = 'last'")
    found = sampled(conn, 500)
    assert len(set(found)) == len(found) == 500
    assert sum(name.startswith("u") for name in found) in range(150, 350)


def test_a_policy_is_stored_once_under_its_version(conn: Conn) -> None:
    for content in ("thresholds 0.3 0.9", "another"):
        models.write_policy(conn, "p1", content)
    assert models.read_policy(conn, "p1") == "thresholds 0.3 0.9"
    assert models.read_policy(conn, "p2") is None

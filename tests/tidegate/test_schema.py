from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.schema import BadMessage, Batch, Reason, nothing, texts, to_datetime, to_micros


def batch(*ids: str, **extras: list[object]) -> Batch:
    rows = len(ids)
    return Batch(
        transaction_id=texts(ids),
        event_time=np.arange(rows, dtype=np.int64),
        amount_minor=np.arange(rows, dtype=np.int64) * 100,
        currency=texts(["EUR"] * rows),
        card_token=texts([f"card-{i}" for i in ids]),
        terminal_id=texts([f"terminal-{i}" for i in ids]),
        content=np.arange(rows, dtype=np.uint64),
        extras={name: texts(values) for name, values in extras.items()},
    )


def test_taking_rows_takes_them_from_every_column_in_the_order_given() -> None:
    taken = batch("a", "b", "c", channel=["pos", None, "atm"]).take(np.array([2, 0]))
    assert taken.transaction_id.tolist() == ["c", "a"]
    assert taken.amount_minor.tolist() == [200, 0]
    assert taken.extras["channel"].tolist() == ["atm", "pos"]
    assert len(batch("a", "b").take(np.array([False, True]))) == 1


def test_joined_batches_keep_the_optional_fields_that_only_some_have() -> None:
    joined = Batch.concat([batch("a", channel=["pos"]), batch("b", mcc=["5411"]), batch("c")])
    assert joined.transaction_id.tolist() == ["a", "b", "c"]
    assert joined.extras["channel"].tolist() == ["pos", None, None]
    assert joined.extras["mcc"].tolist() == [None, "5411", None]
    assert len(joined) == 3


def test_a_column_of_equally_long_lists_stays_a_column() -> None:
    assert texts([[1, 2], [3, 4]]).shape == (2,)
    assert nothing(2).tolist() == [None, None]


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.datetimes(
        datetime(1970, 1, 2),
        datetime(2200, 12, 30),
        timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))),
    )
)
def test_a_time_survives_the_way_to_microseconds_and_back(at: datetime) -> None:
    assert to_datetime(to_micros(at)) == at
    assert to_datetime(to_micros(at)).tzinfo is UTC


def test_a_bad_message_says_what_is_wrong_with_which_field() -> None:
    error = BadMessage(Reason.BAD_TIME, "event_time", "not RFC 3339")
    assert str(error) == "bad_time: event_time: not RFC 3339"

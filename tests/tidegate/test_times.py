from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import times
from tidegate.schema import Reason, to_micros

NOON = to_micros(datetime(2018, 4, 1, 12, 0, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2018-04-01T12:00:00Z", NOON),
        ("2018-04-01T14:00:00+02:00", NOON),
        ("2018-04-01T06:30:00-05:30", NOON),
        ("2018-04-01T12:00:00-00:00", NOON),
        ("2018-04-01t12:00:00z", NOON),
        ("2018-04-01 12:00:00Z", NOON),
        ("2018-04-01T12:00:00.5Z", NOON + 500_000),
        ("2018-04-01T12:00:00.123456789Z", NOON + 123_456),
        ("2016-12-31T23:59:60Z", to_micros(datetime(2017, 1, 1, tzinfo=UTC))),
        ("2017-01-01T00:59:60+01:00", to_micros(datetime(2017, 1, 1, tzinfo=UTC))),
        ("1970-01-01T00:00:00Z", times.EARLIEST),
        ("2200-12-31T23:59:59.999999Z", times.LATEST),
    ],
)
def test_rfc_3339_is_read_to_the_microsecond(text: str, micros: int) -> None:
    assert times.parse(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2018-02-30T12:00:00Z",
        "2018-13-01T12:00:00Z",
        "2018-04-01T24:00:00Z",
        "2018-04-01T12:00:61Z",
        "2018-04-01T12:34:60Z",
        "2018-04-01T12:00:00+25:00",
        "2018-04-01T12:00:00+02:60",
        "2018-04-01T12:00Z",
        "2018-04-01",
        "20180401T120000Z",
        "2018-W13-7T12:00:00Z",
        "2018-04-01T12:00:00Z ",
        "2018-04-01T12:00:00Z\n",
        "٢٠١٨-04-01T12:00:00Z",
        "1969-12-31T23:59:59Z",
        "2201-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "0000-01-01T00:00:00Z",
    ],
)
def test_anything_else_is_a_bad_time(text: str) -> None:
    assert times.parse(text) is Reason.BAD_TIME


def test_a_time_without_an_offset_is_one_only_where_utc_is_promised() -> None:
    assert times.parse("2018-04-01T12:00:00") is Reason.TIME_WITHOUT_OFFSET
    assert times.parse("2018-04-01 12:00:00", naive_is_utc=True) == NOON


digits = st.text("0123456789", min_size=1, max_size=8)
nearly_times = st.one_of(
    st.none(),
    st.datetimes(datetime(1960, 1, 1), datetime(2210, 1, 1)).map(lambda t: t.isoformat() + "Z"),
    st.builds(
        "{}-{:02}-{:02}{}{:02}:{:02}:{:02}{}{}".format,
        st.integers(1965, 2205),
        st.integers(0, 13),
        st.integers(0, 32),
        st.sampled_from("Tt "),
        st.integers(0, 25),
        st.integers(0, 61),
        st.integers(0, 61),
        st.one_of(st.just(""), digits.map(".{}".format)),
        st.sampled_from(["Z", "z", "", "+02:00", "-23:59", "+24:00", "+00:60"]),
    ),
    st.text(max_size=30),
)


@pytest.mark.parametrize("naive_is_utc", [False, True])
@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(nearly_times, max_size=8))
def test_a_column_is_read_as_its_texts_are_one_by_one(
    naive_is_utc: bool, few: list[str | None]
) -> None:
    # Long columns go through Arrow, and Arrow gives up on all for one that does not exist.
    for given_texts in (few, few + ["2018-04-01T12:00:00Z"] * 100):
        column = times.parse_column(pa.array(given_texts, pa.string()), naive_is_utc=naive_is_utc)
        for row, text in enumerate(given_texts):
            one = None if text is None else times.parse(text, naive_is_utc=naive_is_utc)
            assert column.bad[row] == (one is Reason.BAD_TIME)
            assert column.without_offset[row] == (one is Reason.TIME_WITHOUT_OFFSET)
            assert column.micros[row] == (one if type(one) is int else 0)

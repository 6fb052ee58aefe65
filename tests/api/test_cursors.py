from __future__ import annotations

import base64
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import cursors
from api.cursors import CursorError

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=64)


@given(st.datetimes(timezones=st.just(UTC)), TEXTS)
def test_a_cursor_gives_back_what_it_was_made_of(at, key):
    cursor = cursors.at_id("decision", at, key)
    assert cursors.read_at_id("decision", cursor) == (at, key)
    assert len(cursor) <= cursors.LONGEST
    assert cursor.isascii()


@given(st.integers(0, 2**63 - 1), TEXTS)
def test_numbers_and_texts_come_back_too(number, text):
    assert cursors.read_number("n", cursors.number("n", number)) == number
    assert cursors.read_text("t", cursors.text("t", text)) == text


@given(st.floats(0, 1), st.uuids())
def test_scores_come_back_to_the_bit(score, alert_id):
    cursor = cursors.score_id("s", score, str(alert_id))
    assert cursors.read_score_uuid("s", cursor) == (score, alert_id)


@pytest.mark.parametrize("score", ["NaN", "-0.1", "1.5", "Infinity", "true", '"0.5"'])
def test_what_is_no_score_is_refused(score):
    with pytest.raises(CursorError):
        cursors.read_score_uuid("s", made(f'["s",{score},"{UUID(int=1)}"]'))


@given(st.text(max_size=200))
def test_whatever_else_is_given_is_refused(text):
    for read in (
        cursors.read_at_id,
        cursors.read_at_uuid,
        cursors.read_score_uuid,
        cursors.read_number,
        cursors.read_text,
    ):
        with pytest.raises(CursorError):
            read("alert", text)


def made(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "NaN",
        '["alert"]',
        '["alert","yesterday","x"]',
        '["alert","2026-03-01T12:00:00","x"]',
        '["alert","2026-03-01T12:00:00+00:00","\\u0000"]',
        '["alert","2026-03-01T12:00:00+00:00",1]',
        '["decision","2026-03-01T12:00:00+00:00","x"]',
        "[" * 300,
        '["alert","' + "9" * 300,
    ],
)
def test_a_forged_cursor_is_refused(content):
    with pytest.raises(CursorError):
        cursors.read_at_id("alert", made(content))


def test_the_cursor_of_one_list_is_refused_by_the_others():
    at, key = datetime(2026, 3, 1, tzinfo=UTC), str(UUID(int=1))
    with pytest.raises(CursorError):
        cursors.read_at_uuid("alert", cursors.at_id("decision", at, key))
    assert cursors.read_at_uuid("alert", cursors.at_id("alert", at, key)) == (at, UUID(int=1))


@pytest.mark.parametrize("number", ["-1", "true", "9223372036854775808", "1.5"])
def test_a_number_out_of_range_is_refused(number):
    with pytest.raises(CursorError):
        cursors.read_number("dead letter", made(f'["dead letter",{number}]'))

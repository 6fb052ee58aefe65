"""Alerts are found by their ids and by the words of their reasons and comments."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.api.rows import put_alert, put_comment
from tidegate.store import alert_text, alert_work, alerts
from tidegate.store.alerts import AlertFilter
from tidegate.store.connection import Conn


@pytest.fixture
def conn(everywhere: Conn) -> Conn:
    return everywhere


def found(conn: Conn, text: str) -> set[UUID]:
    return {alert.alert_id for alert in alerts.page(conn, AlertFilter(text=text), limit=99)}


@pytest.fixture
def there(conn: Conn) -> UUID:
    """One alert among others."""
    for n in range(3):
        put_alert(conn, n, card_token=f"other-{n}", terminal_id="elsewhere", reasons=Jsonb([]))
    return put_alert(
        conn,
        5,
        transaction_id="Sim-7/d2026.n'28",
        card_token="card_000206",
        terminal_id="term_00108",
        merchant_id="Café Zürich",
        reasons=Jsonb([{"code": "X", "weight": 1.0, "text": "147.24 EUR is 3.8 times the mean"}]),
    )


@pytest.mark.parametrize(
    "text",
    [
        "card_000206",
        "CARD_0002",
        "term_00108",
        "sim-7/d2026",
        "Sim-7/d2026.n'28",
        "147.24",
        "times eur",
        "3.8   mean",
        "tim mea",
        "is card_0002 times",
    ],
)
def test_an_alert_is_found_by_ids_as_they_begin_and_words_in_any_order(
    conn: Conn, there: UUID, text: str
) -> None:
    assert found(conn, text) == {there}


@pytest.mark.parametrize(
    "text",
    [
        "000206",
        "ean",
        "times nothing",
        "147.25",
        "'",
        "\\",
        "' | 'card",
        "!no",
        "a & b",
        ":*",
        "-",
    ],
)
def test_what_is_not_there_is_not_found_and_breaks_nothing(
    conn: Conn, there: UUID, text: str
) -> None:
    assert found(conn, text) == set()


def test_comments_are_found_too_whatever_they_hold(conn: Conn, there: UUID) -> None:
    for text in ("called: not HERS", "x" * 4000, "\N{WATER WAVE} 'q' \\", "…", " \n\t"):
        alert_work.comment(conn, there, text, actor="ann")
    put_comment(conn, there, text="a second one")
    for text in ("hers", "called second", "x" * 200, "\N{WATER WAVE}", "q", "hers card_000206"):
        assert found(conn, text) == {there}, text


def test_an_alert_with_a_great_many_words_still_takes_comments(conn: Conn, there: UUID) -> None:
    for turn in range(14):
        words = " ".join(f"w{turn}n{n}"[:8] for n in range(500))
        for _ in range(2):
            alert_work.comment(conn, there, words[:4000], actor="ann")
    assert found(conn, "w3n7 card_000206") == {there}


def test_other_filters_hold_beside_words(conn: Conn, there: UUID) -> None:
    which = AlertFilter(text="times", card_token="other-1")
    assert alerts.page(conn, which, limit=9) == []


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=300))
def test_whatever_is_looked_for_is_a_query(postgres: str, text: str) -> None:
    import psycopg

    with psycopg.connect(postgres) as conn:
        conn.execute("SELECT lower(%s)::tsquery", (alert_text.sought(text),))

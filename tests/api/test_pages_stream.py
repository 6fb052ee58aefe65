"""The page of the stream in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.api.rows import at, put_dead_letter, put_score
from tidegate import metrics
from tidegate.store.totals import recount


@pytest.fixture
def opened(page, client, conn):
    metrics.CONSUMER_LAG.clear()  # what other tests of this process read from Kafka
    for n in range(48):
        decision = ("approve", "approve", "review", "decline")[n % 4]
        put_score(
            conn, f"t-{n}", n * 3600, decision=decision, score=n / 48, scored_at=at(n * 3600 + 0.2)
        )
    put_dead_letter(conn, 1)
    put_dead_letter(conn, 2, reason="card_number", field="card_token", detail="a card number")
    recount(conn)  # dead letters are counted by who writes them
    conn.commit()
    page.goto(f"{client.base_url}/stream")
    expect(page.locator("#scored")).to_have_text("48")
    return page


def test_decisions_scores_and_latencies_are_drawn(opened):
    page = opened
    expect(page.locator("#flagged-plot .legend")).to_contain_text("Declined 12")
    expect(page.locator("#flagged-plot .legend")).to_contain_text("Reviewed 12")
    expect(page.locator("#decided-plot .fill")).to_have_count(48)
    expect(page.locator("#latency")).to_have_text("175 ms")
    expect(page.locator("#lag")).to_have_text("unknown")
    chart = page.locator("#score-plot .chart")
    chart.focus()
    page.keyboard.press("End")
    expect(page.locator("#score-plot .reading")).to_have_text("0.9 to 1: 4 payments")
    page.get_by_role("radio", name="60 days").check()
    expect(page.locator("#decided-plot .fill")).to_have_count(3)
    expect(page.locator("#decided-hint")).to_contain_text("By day")
    assert page.errors == []


def test_dead_letters_are_told_in_words_and_narrowed(opened):
    page = opened
    rows = page.locator("#dead-rows tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("card token: a card number")
    page.get_by_label("Reason").select_option("cannot be read")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("not JSON")
    page.get_by_label("Replayed").select_option("Replayed")
    expect(page.locator("#dead-empty")).to_have_text("No dead letter matches.")
    assert page.errors == []


def test_a_replay_that_cannot_be_says_why(opened):
    opened.get_by_role("button", name="Replay dead letter 1").click()
    expect(opened.locator("#told")).to_contain_text("Not replayed: Kafka is not configured")
    expect(opened.get_by_role("button", name="Replay dead letter 1")).to_be_enabled()


def test_an_empty_stream_is_told(page, client):
    page.goto(f"{client.base_url}/stream")
    expect(page.locator("#dead-empty")).to_have_text("Every message could be taken.")
    expect(page.locator("#stream-time")).to_have_text("not begun")
    expect(page.locator("#latency")).to_have_text("\N{EN DASH}")
    assert page.errors == []

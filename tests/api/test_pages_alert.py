"""The page of one alert in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from psycopg.types.json import Jsonb

from tests.api.rows import put_alert, put_comment, put_label, put_score

REASONS = [
    {"code": "CARD_VELOCITY", "weight": 1.75, "text": "10 payments of the card in a day"},
    {"code": "TIME", "weight": -0.5, "text": "at noon, as usual"},
]
DAY = 86_400


@pytest.fixture
def alert_id(conn):
    """An alert whose card and terminal have a past, and a comment."""
    for n in range(12):
        put_score(conn, f"past-{n}", -n * DAY, decision="approve" if n else "review")
    put_score(
        conn, "t-alert", 60, decision="decline", score=0.93, amount_minor=43000, channel="ecom"
    )
    put_label(conn, "t-alert", 90)
    alert_id = put_alert(
        conn, 60, transaction_id="t-alert", decision="decline", score=0.93, reasons=Jsonb(REASONS)
    )
    put_alert(conn, 30, card_token="card-1", terminal_id="terminal-2")
    put_alert(conn, 40, card_token="card-9", terminal_id="terminal-9")
    put_comment(conn, alert_id)
    conn.commit()
    return alert_id


@pytest.fixture
def opened(page, client, alert_id):
    page.goto(f"{client.base_url}/alerts/{alert_id}")
    expect(page.locator("#title")).to_contain_text("€430.00")
    return page


def test_a_link_to_an_alert_shows_everything_of_it(opened):
    page = opened
    expect(page.locator("#title")).to_contain_text("decline")
    expect(page.locator("#lead-facts")).to_contain_text("0.930")
    reasons = page.locator("#reasons li")
    expect(reasons).to_have_text(
        ["10 payments of the card in a day+1.75", "at noon, as usual\N{MINUS SIGN}0.50"]
    )
    expect(page.locator("#payment")).to_contain_text("ecom")
    expect(page.locator("#payment")).to_contain_text("chargeback saidfraud")
    expect(page.locator("#comments")).to_contain_text("called the card's owner")
    similar = page.locator("#similar li")
    expect(similar).to_have_count(1)
    expect(similar).to_contain_text("same card")
    expect(similar).to_contain_text("1 minute before")
    assert page.errors == []


def test_the_card_is_drawn_payment_by_payment_and_read_by_keyboard(opened):
    page = opened
    expect(page.locator("#card-plot .shape")).to_have_count(13)
    expect(page.locator("#card-plot rect.shape")).to_have_count(1)  # the declined one
    expect(page.locator("#card-plot circle.ring")).to_have_count(1)
    chart = page.locator("#card-plot .chart")
    chart.focus()
    page.keyboard.press("End")
    reading = page.locator("#card-plot .reading")
    expect(reading).to_contain_text(
        "This payment, Mar 1, 2026, 12:01 UTC: €430.00 at terminal-1, declined"
    )
    page.keyboard.press("ArrowLeft")
    expect(reading).to_contain_text("Mar 1, 2026, 12:00 UTC: €12.34 at terminal-1, reviewed")
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile("/alerts/"))  # the chart took the key
    expect(reading).to_contain_text("13 payments; the ring is this one")
    page.locator("#card-plot summary").click()
    expect(page.locator("#card-plot tbody tr")).to_have_count(13)
    expect(page.locator("#card-plot tbody tr").last).to_contain_text("this payment")


def test_the_terminal_is_told_by_day_and_by_hour(opened):
    page = opened
    hint = page.locator("#terminal-hint")
    expect(hint).to_have_text("13 payments at terminal-1 in 60 days, 2 not approved.")
    page.get_by_role("radio", name="Hours").check()
    expect(hint).to_have_text("3 payments at terminal-1 in 3 days, 2 not approved.")
    chart = page.locator("#terminal-plot .chart")
    chart.focus()
    chart.hover()
    expect(page.locator("#terminal-plot .reading")).to_contain_text("not approved")
    assert page.errors == []


def test_an_alert_is_closed_and_commented_where_it_is_read(opened, conn, alert_id):
    page = opened
    page.keyboard.press("c")
    page.keyboard.type("Not hers.\nShe was at work.")
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Control+Enter")  # twice by mistake: it is stored once
    expect(page.locator("#comments li")).to_have_count(2)
    expect(page.locator("#comments li").last).to_contain_text("She was at work.")
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    expect(page.locator("#lead-facts")).to_contain_text("closed: fraud")
    expect(page.get_by_role("button", name="Fraud")).to_have_attribute("aria-pressed", "true")
    row = conn.execute("SELECT outcome FROM alert WHERE alert_id = %s", (alert_id,)).fetchone()
    assert row == ("fraud",)
    assert page.errors == []


def test_what_another_analyst_does_is_seen(opened, client, alert_id):
    page = opened
    client.patch(
        f"/v1/alerts/{alert_id}", json={"assignee": "bob"}, headers={"If-Match": '"1"'}
    ).raise_for_status()
    expect(page.locator("#lead-facts")).to_contain_text("bob")


def test_a_decision_is_computed_again_on_request(page, client, conn, remade):
    remade("t-again", 1)
    alert_id = put_alert(conn, 1, transaction_id="t-again")
    conn.commit()
    page.goto(f"{client.base_url}/alerts/{alert_id}")
    page.get_by_role("button", name="Compute it again").click()
    expect(page.locator("#replay-text")).to_contain_text("same to the last bit")


def test_the_way_back_leads_to_the_list_that_was_left(page, client, conn):
    for n in range(3):
        put_score(conn, f"t-{n}", n)
        put_alert(conn, n, transaction_id=f"t-{n}", card_token="card-1" if n else "card-2")
    conn.commit()
    page.goto(f"{client.base_url}/?card_token=card-1")
    expect(page.locator("#rows tr")).to_have_count(2)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("#line")).to_contain_text("card-1")
    page.keyboard.press("Escape")
    expect(page).to_have_url(f"{client.base_url}/?card_token=card-1")
    expect(page.locator("#rows tr").nth(1)).to_have_attribute("aria-current", "true")
    assert page.errors == []


@pytest.mark.parametrize("name", ["00000000-0000-0000-0000-000000000000", "none"])
def test_of_an_alert_that_is_not_there_the_page_says_so(page, client, name):
    page.goto(f"{client.base_url}/alerts/{name}")
    expect(page.locator("#nothing")).to_contain_text("There is no such alert")

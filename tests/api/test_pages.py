"""The page in a real browser, over a real server and a real database."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from tests.api.rows import (
    at,
    put_alert,
    put_dead_letter,
    put_label,
    put_metric,
    put_model,
    put_promotion,
    put_score,
    put_version,
)

SOON = 10_000  # milliseconds: the page asks every two seconds


@pytest.fixture
def address(client):
    return str(client.base_url)


def put_new_alert(conn, seconds, **given):
    put_alert(conn, seconds, created_at=datetime.now(UTC), **given)
    conn.commit()


def test_an_alert_shows_up_on_an_open_page_and_is_marked_as_new(page, address, conn):
    put_new_alert(conn, 1, card_token="card-old")
    page.goto(address)
    rows = page.locator("#rows tr")
    expect(rows).to_have_count(1)
    expect(rows.first).not_to_have_class(re.compile("fresh"))
    put_new_alert(
        conn,
        2,
        card_token="card-new",
        terminal_id="terminal-7",
        decision="decline",
        score=0.934,
        amount_minor=1234,
        currency="JPY",
    )
    expect(rows).to_have_count(2, timeout=SOON)
    first = rows.first
    expect(first).to_have_class(re.compile("fresh"))
    for text in (
        "12:00:02",
        "0.934",
        "decline",
        "¥1,234",
        "card-new",
        "terminal-7",
        "3 frauds at this terminal in 7 days",
    ):
        expect(first).to_contain_text(text)
    expect(rows.nth(1)).to_contain_text("€430.00")
    expect(page.locator("#said")).to_have_text("1 new alert")
    expect(page.locator("#open")).to_have_text("2", timeout=SOON)
    assert page.errors == []


def test_the_page_says_what_it_waits_for(page, address, conn):
    page.goto(address)
    expect(page.locator("#alerts-empty")).to_contain_text("Waiting for the first payment")
    expect(page.locator("#chart-empty")).to_contain_text("Waiting for the first model version")
    put_version(conn, "v1", 0)
    put_score(conn, "t-1", 0)
    conn.commit()
    expect(page.locator("#alerts-empty")).to_contain_text("1 payment was scored", timeout=SOON)
    expect(page.locator("#chart-empty")).to_contain_text("first labels", timeout=SOON)
    put_label(conn, "t-1", 1)
    conn.commit()
    expect(page.locator("#chart-empty")).to_contain_text("Labels arrive", timeout=SOON)
    expect(page.locator("#sources")).to_contain_text("chargeback")
    put_metric(conn, "average_precision", 1, 0.7)
    conn.commit()
    expect(page.locator("#value-all")).to_have_text("0.700", timeout=SOON)
    expect(page.locator("#chart-empty")).to_be_hidden()
    assert page.errors == []


def test_the_chart_draws_both_series_and_is_read_by_keyboard(page, address, conn):
    put_version(conn, "v1", 0)
    put_score(conn, "t-1", 0, scored_at=at(0))
    put_dead_letter(conn, 1, reason="card_number")
    for n in range(30):
        put_metric(conn, "average_precision", n * 3600, n / 50)
        put_metric(conn, "average_precision_7d", n * 3600, n / 40)
    conn.commit()
    page.goto(address)
    expect(page.locator("#chart polyline")).to_have_count(2)
    expect(page.locator("#value-all")).to_have_text("0.580")
    page.locator("#chart").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#value-all")).to_have_text("0.020")
    expect(page.locator("#reading")).to_contain_text("Mar 1, 2026, 13:00")
    page.keyboard.press("Escape")
    expect(page.locator("#value-7d")).to_have_text("0.725")
    expect(page.locator("#dead-reasons")).to_contain_text("card number")
    assert page.errors == []


def test_the_models_stand_side_by_side_and_alarms_are_told(page, address, conn):
    put_version(conn, "v1", 0)
    put_score(conn, "t-1", 0, scored_at=at(0))
    put_metric(conn, "average_precision", 0, 0.6)
    for name, value in (("champion", 0.61), ("quick", 0.7), ("forest", 0.5)):
        put_model(conn, name)
        put_metric(conn, "trial_average_precision_7d", 0, value, name=name)
    put_metric(conn, "suspended", 3600, 2_000, name="forest")
    put_metric(conn, "drift_log_loss", 7200, 1.4)
    put_metric(conn, "drift_psi_amount", 10_800, 0.3)
    put_promotion(conn, "quick", "champion")
    conn.commit()
    page.goto(address)
    expect(page.locator("#models div")).to_have_text(
        ["quick, serves0.700", "champion0.610", "forestsuspended"]
    )
    expect(page.locator("#drift dt")).to_have_text(["psi amount", "log loss"])
    expect(page.locator("#drift dd").last).to_have_text("Mar 1, 2026, 14:00")
    assert page.errors == []


def test_data_never_becomes_markup(page, address, conn):
    evil = "<img src=x onerror=alert(1)>"
    put_score(conn, "t-1", 1, model_version="v1")
    put_version(conn, "v1", 1, name=evil)
    put_dead_letter(conn, 1, reason=evil)
    put_new_alert(conn, 1, card_token=evil, terminal_id=evil, currency=evil)
    page.goto(address)
    expect(page.locator("#rows button").first).to_have_text(evil)
    expect(page.locator("#model-name")).to_have_text(evil)
    assert page.locator("main img").count() == 0
    assert page.errors == []


def test_a_card_narrows_the_list_to_itself_and_the_address_keeps_it(page, address, conn):
    put_new_alert(conn, 1, card_token="card-1")
    put_new_alert(conn, 2, card_token="card & 2")
    page.goto(address)
    rows = page.locator("#rows tr")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="card & 2").click()
    expect(rows).to_have_count(1)
    page.reload()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("card & 2")
    page.get_by_label("Card", exact=True).fill("nobody")
    expect(page.locator("#alerts-empty")).to_contain_text("No alert matches")
    page.get_by_role("button", name="Clear the filters").click()
    expect(rows).to_have_count(2)
    page.get_by_role("radio", name="Decline").check()
    expect(page.locator("#alerts-empty")).to_contain_text("No alert matches")
    assert page.errors == []


def test_older_alerts_follow_while_the_list_stands_still(page, address, conn):
    for n in range(120):
        put_alert(conn, n, card_token=f"card-{n}")
    conn.commit()
    page.goto(address)
    rows = page.locator("#rows tr")
    expect(rows).to_have_count(50)
    older = page.get_by_role("button", name="Show older alerts")
    older.click()
    expect(rows).to_have_count(100)
    expect(page.locator("#state")).to_have_text("Paused")
    older.click()
    expect(rows).to_have_count(120)
    expect(rows.last).to_contain_text("card-0")
    expect(older).to_be_hidden()
    page.get_by_role("button", name="Resume").click()
    expect(rows).to_have_count(50)
    expect(page.locator("#state")).to_have_text("Live")
    assert page.errors == []


def test_a_row_that_is_being_used_stays_where_it_is(page, address, conn):
    put_new_alert(conn, 1, card_token="card-1")
    page.goto(address)
    page.get_by_role("button", name="card-1").focus()
    put_new_alert(conn, 2, card_token="card-2")
    held = page.get_by_role("button", name="1 new alert")
    expect(held).to_be_visible(timeout=SOON)
    expect(page.locator("#rows tr")).to_have_count(1)
    held.click()
    expect(page.locator("#rows tr")).to_have_count(2)
    expect(held).to_be_hidden()


def test_a_paused_list_stands_still_until_it_is_resumed(page, address, conn):
    put_new_alert(conn, 1)
    page.goto(address)
    expect(page.locator("#rows tr")).to_have_count(1)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#state")).to_have_text("Paused")
    put_new_alert(conn, 2)
    expect(page.locator("#open")).to_have_text("2", timeout=SOON)  # the totals go on
    expect(page.locator("#rows tr")).to_have_count(1)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#rows tr")).to_have_count(2)


def test_without_the_database_the_page_says_so(page, serve, tmp_path):
    client = serve(f"postgresql://nobody@/none?host={tmp_path}", pool_timeout=0.2)
    page.goto(str(client.base_url))
    expect(page.get_by_role("alert")).to_contain_text("The database does not answer", timeout=SOON)
    expect(page.locator("#state")).to_have_text("Trying again")


@pytest.mark.parametrize("width", [320, 390, 760, 1000, 1920])
def test_the_page_fits_its_width(page, address, conn, width):
    put_version(conn, "v1", 0)
    put_score(conn, "t-1", 0)
    put_metric(conn, "average_precision", 1, 0.7)
    for card in ("c" * 64, "card 2"):
        put_new_alert(conn, 1, card_token=card, terminal_id=card, amount_minor=9_999_999_999)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(address)
    expect(page.locator("#rows tr")).to_have_count(2)
    expect(page.locator("#value-all")).to_have_text("0.700", timeout=SOON)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_comes_from_this_server(page, address):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    expect(page.locator("#state")).to_have_text("Live")
    assert asked
    assert all(url.startswith(address) for url in asked)

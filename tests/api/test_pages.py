"""The list of alerts in a real browser, over a real server and a real database."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from tests.api.keys import OPEN, bearer, put_key
from tests.api.rows import put_alert, put_dead_letter, put_label, put_score, put_version
from tidegate.store.totals import recount


@pytest.fixture
def address(client):
    return str(client.base_url)


def put_new_alert(conn, seconds, **given):
    alert_id = put_alert(conn, seconds, created_at=datetime.now(UTC), **given)
    conn.commit()
    return alert_id


def named(page, name, conn):
    """The page of an analyst of this name."""
    page.context.set_extra_http_headers(bearer(put_key(conn, "analyst", name=name)))


def told(conn, alert_id):
    conn.rollback()  # what was read before is forgotten
    row = conn.execute(
        "SELECT status, outcome, assignee FROM alert WHERE alert_id = %s", (alert_id,)
    )
    return row.fetchone()


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
    first = rows.first
    expect(first).to_have_class(re.compile("fresh"))
    expect(rows).to_have_count(2)
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
    expect(page.locator("#open")).to_have_text("2")
    assert page.errors == []


def test_the_page_says_what_it_waits_for(page, address, conn):
    page.goto(address)
    empty = page.locator("#alerts-empty")
    expect(empty).to_contain_text("Waiting for the first payment")
    put_version(conn, "v1", 0)
    put_score(conn, "t-1", 0)
    put_label(conn, "t-1", 1)
    put_dead_letter(conn, 1)
    recount(conn)  # dead letters are counted by who writes them
    conn.commit()
    expect(empty).to_contain_text("1 payment was scored and approved")
    expect(page.locator("#labels-note")).to_have_text("1 fraud")
    expect(page.locator("#dead-note")).to_have_text("not taken")
    put_new_alert(conn, 1, status="closed", outcome="fraud")
    expect(empty).to_contain_text("Nothing is open")
    assert page.errors == []


def test_an_alert_is_worked_on_by_keyboard_alone(page, address, conn):
    ids = [put_alert(conn, n, card_token=f"card-{n}") for n in range(3)]
    conn.commit()
    named(page, "ann", conn)
    with page.expect_response("**/v1/alerts/stream*"):
        page.goto(address)
    expect(page.locator("#rows tr")).to_have_count(3)
    page.keyboard.press("f")  # of no alert: nothing happens
    expect(page.locator("#told")).to_contain_text("Choose an alert first")
    for key in "jjjk":
        page.keyboard.press(key)
    chosen = page.locator("#rows tr[aria-current]")
    expect(chosen).to_contain_text("card-1")
    expect(chosen).to_be_focused()
    page.keyboard.press("a")
    expect(chosen).to_contain_text("ann")
    page.keyboard.press("i")
    expect(chosen).to_contain_text("investigating")
    assert told(conn, ids[1]) == ("investigating", None, "ann")
    for key in "aaf":  # faster than the answers come
        page.keyboard.press(key)
    expect(page.locator("#told")).to_contain_text("Closed as fraud")
    expect(page.locator("#rows tr").nth(1)).to_contain_text("fraud")
    expect(chosen).to_contain_text("card-0")  # the next one
    assert told(conn, ids[1]) == ("closed", "fraud", "ann")
    page.keyboard.press("s")
    page.keyboard.press("2")
    expect(chosen).to_contain_text("snoozed to")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("g")  # keys rest while a dialog is open
    page.keyboard.press("Escape")
    assert told(conn, ids[0]) == ("open", None, None)
    page.keyboard.press("/")
    expect(page.get_by_label("Card", exact=True)).to_be_focused()
    page.keyboard.type("fug")  # and while somebody types
    assert told(conn, ids[0]) == ("open", None, None)
    assert page.errors == []


def test_the_next_alert_is_chosen_though_the_news_come_before_the_answer(page, address, conn):
    for n in range(2):
        put_new_alert(conn, n, card_token=f"card-{n}")
    page.goto(address)
    rows = page.locator("#rows tr")
    expect(rows).to_have_count(2)
    page.keyboard.press("j")

    def answer_late(route):
        response = route.fetch()
        expect(rows.first).to_have_attribute("data-status", "closed")
        route.fulfill(response=response)

    page.route("**/v1/alerts/*", answer_late)
    page.keyboard.press("f")
    expect(page.locator("#told")).to_contain_text("Closed as fraud")
    expect(page.locator("#rows tr[aria-current]")).to_contain_text("card-0")


def slowly(page):
    """The page's changes are answered late, each half a second."""

    def answer(route):
        response = route.fetch()
        page.wait_for_timeout(500)
        route.fulfill(response=response)

    page.route("**/v1/alerts/*-*", answer)


def test_keys_that_are_faster_than_the_answers_meet_no_other_analyst(page, address, conn):
    ids = [put_new_alert(conn, n, card_token=f"card-{n}") for n in range(2)]
    named(page, "ann", conn)
    page.goto(address)
    expect(page.locator("#rows tr")).to_have_count(2)
    slowly(page)
    for key in "jajaki":
        page.keyboard.press(key)
    first = page.locator("#rows tr").first
    expect(first).to_contain_text("investigating")
    expect(page.locator("#told")).to_contain_text("Investigating")
    assert [told(conn, one) for one in ids] == [
        ("open", None, "ann"),
        ("investigating", None, "ann"),
    ]
    page.keyboard.press("f")
    page.keyboard.press("f")  # once more, by mistake: it still can be taken back
    expect(page.locator("#told")).to_contain_text("It was like that already")
    assert told(conn, ids[1]) == ("closed", "fraud", "ann")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#told")).to_contain_text("Taken back")
    assert told(conn, ids[1]) == ("investigating", None, "ann")
    assert page.errors == []


def test_what_was_done_is_undone(page, address, conn):
    alert_id = put_new_alert(conn, 1, assignee="bob")
    page.goto(address)
    page.locator("#rows tr").click(position={"x": 4, "y": 4})
    page.get_by_role("button", name="Genuine").click()
    expect(page.locator("#told")).to_contain_text("Closed as genuine: €430.00, card card-1")
    assert told(conn, alert_id) == ("closed", "genuine", "bob")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#told")).to_contain_text("Taken back")
    assert told(conn, alert_id) == ("open", None, "bob")


def test_every_key_has_a_button(page, address, conn):
    put_new_alert(conn, 1)
    page.goto(address)
    page.locator("#rows tr").click(position={"x": 4, "y": 4})
    keys = " ".join(
        button.get_attribute("aria-keyshortcuts") or ""
        for button in page.locator("#work button").all()
    )
    assert sorted(keys.split()) == sorted(["j", "k", "o", "Enter", *"aisfgu", "/", "?"])
    for button in page.locator("#work button").all():
        expect(button).to_be_visible()
        expect(button).to_be_enabled()


def test_a_list_that_is_paused_before_it_came_is_shown_all_the_same(page, address, conn):
    put_new_alert(conn, 1, card_token="card-1")
    page.route("**/v1/alerts?*", lambda route: (page.wait_for_timeout(300), route.continue_()))
    page.goto(address)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#rows tr")).to_have_count(1)
    put_new_alert(conn, 2, card_token="card-2")
    page.get_by_label("Card", exact=True).fill("card-2")
    page.keyboard.press("Enter")
    expect(page.locator("#rows tr")).to_contain_text("card-2")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_of_two_analysts_the_second_is_told_what_the_first_changed(page, browser, address, conn):
    alert_id = put_new_alert(conn, 1)
    named(page, "ann", conn)
    page.goto(address)
    with browser.new_context(locale="en-US") as context:
        other = context.new_page()
        named(other, "bob", conn)
        # Bob's page hears nothing of what happens meanwhile.
        other.route("**/v1/alerts/stream*", lambda route: route.abort())
        other.goto(address)
        other.get_by_role("button", name="Pause").click()
        for one in (page, other):
            expect(one.locator("#rows tr")).to_have_count(1)
            one.keyboard.press("j")
        page.keyboard.press("a")
        expect(page.locator("#told")).to_contain_text("Assigned to ann")
        other.keyboard.press("f")
        message = other.get_by_role("alert").filter(has_text="quicker")
        expect(message).to_contain_text("Another analyst was quicker: assigned to nobody → ann")
        expect(other.locator("#rows tr")).to_contain_text("ann")
        assert told(conn, alert_id) == ("open", None, "ann")
        other.get_by_role("button", name="Make mine all the same").click()
        expect(other.locator("#told")).to_contain_text("Closed as fraud")
        assert told(conn, alert_id) == ("closed", "fraud", "ann")


def test_new_alerts_do_not_move_the_row_under_the_cursor(page, address, conn):
    put_new_alert(conn, 1, card_token="card-1")
    page.goto(address)
    expect(page.locator("#rows tr")).to_have_count(1)
    page.keyboard.press("j")
    chosen = page.locator("#rows tr[aria-current]")
    place = chosen.bounding_box()
    for n in range(2):
        put_new_alert(conn, 2 + n, card_token="card-2")
    held = page.get_by_role("button", name="2 new alerts")
    expect(held).to_be_visible()
    assert chosen.bounding_box() == place
    page.keyboard.press("n")
    expect(page.locator("#rows tr")).to_have_count(3)
    expect(held).to_be_hidden()
    expect(chosen).to_contain_text("card-1")
    assert page.errors == []


def test_an_alert_that_only_takes_the_place_of_another_is_not_new(page, address, conn):
    for n in range(51):
        put_alert(conn, n, card_token=f"card-{n}")
    conn.commit()
    page.goto(address)
    expect(page.locator("#rows tr")).to_have_count(50)
    page.keyboard.press("j")
    page.keyboard.press("f")  # it leaves the list of open ones, and the 51st comes into the page
    expect(page.locator("#told")).to_contain_text("Closed as fraud")
    with page.expect_response("**/v1/alerts?*"):
        pass
    page.wait_for_timeout(200)
    expect(page.locator("#held")).to_be_hidden()
    expect(page.locator("#rows tr").first).to_contain_text("fraud")  # where it was, to look back
    assert page.errors == []


def test_news_come_by_themselves_where_the_api_sends_them(page, address, client, conn):
    if "/v1/alerts/stream" not in client.get("/openapi.json").json()["paths"]:
        pytest.skip("this API sends no news of alerts")
    put_new_alert(conn, 1)
    with page.expect_response("**/v1/alerts/stream*"):
        page.goto(address)
    expect(page.locator("#rows tr")).to_have_count(1)
    alert_id = put_new_alert(conn, 2, card_token="card-new")
    expect(page.locator("#rows tr").first).to_contain_text("card-new")
    page.route("**/v1/alerts?*", lambda route: None)  # whatever it asks for now, it is not told
    client.patch(
        f"/v1/alerts/{alert_id}", json={"assignee": "bob"}, headers={"If-Match": '"1"'}
    ).raise_for_status()
    expect(page.locator("#rows tr").first).to_contain_text("bob")
    assert page.errors == []


def test_data_never_becomes_markup(page, address, conn):
    evil = "<img src=x onerror=alert(1)>"
    entities = {"card_token": evil, "terminal_id": evil, "merchant_id": evil}
    put_score(conn, "t-1", 1, **entities)
    alert_id = put_new_alert(conn, 1, transaction_id="t-1", currency=evil, **entities)
    page.goto(address)
    expect(page.locator("#rows button").first).to_have_text(evil)
    page.goto(f"{address}/alerts/{alert_id}")
    expect(page.locator("#line")).to_contain_text(evil)
    expect(page.locator("#payment")).to_contain_text(evil)
    expect(page.locator("#terminal-hint")).to_contain_text(evil)
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
    expect(page.get_by_label("Card", exact=True)).to_be_focused()
    page.get_by_role("button", name="Clear the filters").click()
    expect(rows).to_have_count(2)
    page.get_by_label("Decision").select_option("Decline")
    expect(page.locator("#alerts-empty")).to_contain_text("No alert matches")
    assert page.errors == []


def test_a_list_of_mine_and_of_closed_ones_is_an_address(page, address, conn):
    put_new_alert(conn, 1, card_token="card-1", assignee="ann", status="closed", outcome="unclear")
    put_new_alert(conn, 2, card_token="card-2", assignee="bob", status="closed", outcome="fraud")
    put_new_alert(conn, 3, card_token="card-3")
    named(page, "ann", conn)
    page.goto(f"{address}/?status=closed&whose=mine")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator("#rows tr")).to_contain_text("unclear")
    page.get_by_label("Assigned to").select_option("")
    expect(page.locator("#rows tr")).to_have_count(2)
    expect(page).to_have_url(f"{address}/?status=closed")
    page.get_by_label("Status").select_option("Open")
    expect(page.locator("#rows tr")).to_contain_text("card-3")
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
    rows.nth(99).click(position={"x": 4, "y": 4})
    page.keyboard.press("j")  # the cursor goes on past the end of what is shown
    expect(rows).to_have_count(120)
    expect(rows.nth(100)).to_have_attribute("aria-current", "true")
    expect(rows.last).to_contain_text("card-0")
    expect(older).to_be_hidden()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Resume").click()
    expect(rows).to_have_count(50)
    expect(page.locator("#state")).to_have_text("Live")
    assert page.errors == []


def test_a_paused_list_stands_still_until_it_is_resumed(page, address, conn):
    put_new_alert(conn, 1)
    page.goto(address)
    expect(page.locator("#rows tr")).to_have_count(1)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#state")).to_have_text("Paused")
    put_new_alert(conn, 2)
    expect(page.locator("#open")).to_have_text("2")  # the totals go on
    expect(page.locator("#rows tr")).to_have_count(1)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#rows tr")).to_have_count(2)


def test_without_the_database_the_page_says_so(page, serve, tmp_path):
    client = serve(f"postgresql://nobody@/none?host={tmp_path}", pool_timeout=0.2, access=OPEN)
    page.goto(str(client.base_url))
    expect(page.get_by_role("alert")).to_contain_text("The database does not answer")
    expect(page.locator("#state")).to_have_text("Trying again")


def test_a_theme_that_was_chosen_stays(page, address):
    page.emulate_media(color_scheme="dark")
    page.goto(address)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Theme").click()  # light
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == light
    page.get_by_role("button", name="Theme").click()  # dark
    assert page.evaluate(ground) == dark

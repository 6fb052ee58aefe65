"""The page of the models in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.api.rows import at, put_metric, put_model, put_score, put_version


@pytest.fixture
def models(conn):
    """Three models in trials, one of them suspended, and alarms."""
    put_score(conn, "t-1", 0, scored_at=at(0))
    for n in range(30):
        put_version(conn, f"{n:02}" + "ab" * 31, n * 3600)
        put_metric(conn, "average_precision", n * 3600, n / 50)
        put_metric(conn, "average_precision_7d", n * 3600, n / 40)
        put_metric(conn, "log_loss_7d", n * 3600, 0.05 - n / 1000)
        put_metric(conn, "log_loss_1d", n * 3600, 0.05)
    for name, value in (("champion", 0.61), ("quick", 0.7), ("forest", 0.5)):
        put_model(conn, name, servable=name != "forest")
        for n in range(3):
            put_metric(conn, "trial_average_precision_7d", n * 3600, value, name=name)
    put_metric(conn, "suspended", 30 * 3600, 2_000, name="forest")
    put_metric(conn, "drift_log_loss", 7200, 1.4)
    put_metric(conn, "drift_psi_amount", 10_800, 0.3)
    conn.commit()


@pytest.fixture
def opened(page, client, models):
    page.goto(f"{client.base_url}/models")
    expect(page.locator("#side tr")).to_have_count(3)
    return page


def test_the_models_stand_side_by_side_the_best_first(opened):
    rows = opened.locator("#side tr")
    expect(rows.nth(0)).to_contain_text("quick0.700")
    expect(rows.nth(0)).to_contain_text("learns")
    expect(rows.nth(1)).to_contain_text("champion0.610")
    expect(rows.nth(1)).to_contain_text("serves")
    expect(rows.nth(2)).to_contain_text("suspended")
    expect(opened.get_by_role("button", name="Promote quick")).to_be_visible()
    expect(opened.get_by_role("button", name="Promote")).to_have_count(1)
    assert opened.errors == []


def test_the_learning_curve_is_read_by_keyboard_and_as_a_table(opened):
    page = opened
    expect(page.locator("#precision-plot polyline")).to_have_count(2)
    expect(page.locator("#precision-plot .legend")).to_contain_text("0.725")
    page.locator("#precision-plot .chart").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#precision-plot .reading")).to_have_text(
        "Mar 1, 2026, 13:00 UTC: last 7 days 0.025, since the start 0.020, 100 labelled payments"
    )
    page.locator("#precision-plot summary").click()
    expect(page.locator("#precision-plot tbody tr")).to_have_count(30)
    expect(page.locator("#loss-plot .legend")).to_contain_text("0.021")
    expect(page.locator("#trial-plot polyline")).to_have_count(3)
    assert page.errors == []


def test_alarms_are_told_in_words_newest_first(opened):
    expect(opened.locator("#drift dt")).to_have_text(
        ["payments differ: amount", "the model errs more"]
    )
    expect(opened.locator("#drift dd").last).to_contain_text("Mar 1, 2026, 14:00")
    expect(opened.locator("#drift-plot .event")).to_have_count(2)


def test_a_model_is_promoted_after_it_was_asked_and_taken_back(opened, client):
    page = opened
    expect(page.get_by_role("button", name="Roll back")).to_be_disabled()
    page.get_by_role("button", name="Promote quick").click()
    page.get_by_role("button", name="Cancel").click()
    assert client.get("/v1/promotions").json()["data"] == []
    page.get_by_role("button", name="Promote quick").click()
    page.get_by_label("Reason").fill("three weeks ahead")
    page.get_by_role("button", name="Promote", exact=True).click()
    expect(page.locator("#told")).to_contain_text("quick serves now, in place of champion")
    expect(page.locator("#side tr").first).to_contain_text("serves")
    expect(page.locator("#history")).to_contain_text(
        "Promoted quick, in place of champion: three weeks ahead"
    )
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("dialog", name="Take quick back?")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(page.locator("#history li").first).to_contain_text(
        "Took quick back; champion serves again"
    )
    expect(page.get_by_role("button", name="Roll back")).to_be_disabled()
    assert page.errors == []


def test_older_versions_follow_and_another_model_is_chosen(opened):
    page = opened
    expect(page.locator("#versions tr")).to_have_count(8)
    page.get_by_role("button", name="Show older versions").click()
    expect(page.locator("#versions tr")).to_have_count(30)
    page.get_by_role("combobox", name="Model").select_option("quick")
    expect(page.locator("#versions-of")).to_have_text("quick")
    expect(page.locator("#precision-empty")).to_contain_text("Labels come days after")
    assert page.errors == []


def test_without_a_model_the_page_says_what_it_waits_for(page, client, conn):
    page.goto(f"{client.base_url}/models")
    expect(page.locator("#nothing")).to_contain_text("Waiting for the first model version")
    put_version(conn, "v1", 0)
    conn.commit()
    expect(page.locator("#precision-empty")).to_contain_text("first known fraud")
    assert page.errors == []

"""What holds for every page: it can be read by everybody, at every width, and stays at home."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.api.rows import (
    put_alert,
    put_comment,
    put_dead_letter,
    put_metric,
    put_model,
    put_promotion,
    put_score,
    put_version,
)
from tests.waiting import wait_until

# Where pictures of the pages are kept, for whoever looks at them; none without it.
PICTURES = "TIDEGATE_PICTURES"

LONG = "c" * 64


@pytest.fixture
def paths(conn):
    """Each page's path by its name, over something of everything."""
    for n in range(30):
        put_score(conn, f"t-{n}", n * 3600, decision="review" if n % 9 == 0 else "approve")
        put_metric(conn, "average_precision", n * 3600, n / 50)
        put_metric(conn, "average_precision_7d", n * 3600, n / 40)
        put_metric(conn, "log_loss_7d", n * 3600, 0.05 - n / 1000)
        put_metric(conn, "log_loss_1d", n * 3600, 0.05)
    put_version(conn, "ab" * 32, 0)
    put_metric(conn, "drift_psi_amount", 10_800, 0.3)
    for name in ("champion", "quick"):
        put_model(conn, name)
        put_metric(conn, "trial_average_precision_7d", 3600, 0.7, name=name)
    put_promotion(conn, "champion", "quick", reason="r" * 100)
    put_dead_letter(conn, 1, payload='{"transaction_id":"' + LONG)
    put_dead_letter(conn, 2, topic=LONG)
    put_alert(conn, 2, card_token=LONG, terminal_id=LONG, amount_minor=9_999_999_999)
    put_alert(conn, 3, status="closed", outcome="genuine", assignee=LONG)
    alert_id = put_alert(
        conn, 60, transaction_id="t-0", decision="decline", assignee=LONG, status="investigating"
    )
    put_comment(conn, alert_id, text=LONG)
    conn.commit()
    return {
        "alerts": "/?status=any",
        "alert": f"/alerts/{alert_id}",
        "models": "/models",
        "stream": "/stream",
    }


READY = {
    "alerts": "#rows tr",
    "alert": "#similar li",
    "models": "#precision-plot svg",
    "stream": "#score-plot svg",
}


def open_page(page, client, paths, name):
    page.goto(f"{client.base_url}{paths[name]}")
    expect(page.locator(READY[name]).first).to_be_visible()
    if name == "alert":
        expect(page.locator("#terminal-plot svg")).to_be_visible()
    if name == "alerts":
        page.keyboard.press("j")


def grave(page):
    """What axe-core finds that would keep somebody out, and where."""
    return [
        (one["id"], [node["target"] for node in one["nodes"]])
        for one in Axe().run(page).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def keep_picture(page, name):
    if directory := os.environ.get(PICTURES):
        Path(directory).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_kept_out(page, client, paths, theme):
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    for name in READY:
        open_page(page, client, paths, name)
        keep_picture(page, f"{name}-{theme}")
        assert grave(page) == [], name
    assert page.errors == []


def fits(page, width):
    """Whether nothing is beside the window; charts are drawn to a new width a frame later."""
    return page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_page_fits_every_width(page, client, paths):
    for name in READY:
        open_page(page, client, paths, name)
        for width in (1920, 1000, 760, 390, 320):
            page.set_viewport_size({"width": width, "height": 844})
            wait_until(partial(fits, page, width), told=f"{name} is wider than {width}".format)
            if width == 390:
                keep_picture(page, f"{name}-phone")


def test_everything_comes_from_this_server(page, client, paths):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    for name in READY:
        open_page(page, client, paths, name)
    assert asked
    assert all(url.startswith(str(client.base_url)) for url in asked)
    assert page.errors == []


def test_dialogs_keep_nobody_out_either(page, client, paths):
    open_page(page, client, paths, "alerts")
    for key, title in (("?", "Keys"), ("s", "Snooze until")):
        page.keyboard.press(key)
        dialog = page.get_by_role("dialog", name=title)
        expect(dialog).to_be_visible()
        assert grave(page) == [], title
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()

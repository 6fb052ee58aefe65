"""The pages and their files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from api import kinds, problems, templating
from api.access import policy
from api.access.guard import Who
from api.access.policy import Open

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Place:
    """A page: where it is, its template (and its script's name), and its style sheets."""

    path: str
    name: str
    title: str
    within: str  # the page that the navigation shows as the present one
    sheets: tuple[str, ...]


PLACES = (
    Place("/", "alerts", "Alerts", "/", ("work", "queue")),
    Place("/alerts", "alerts", "Alerts", "/", ("work", "queue")),
    Place("/alerts/{alert_id}", "alert", "Alert", "", ("work", "alert", "plot")),
    Place("/models", "models", "Models", "/models", ("plot",)),
    Place("/stream", "stream", "Stream", "/stream", ("plot",)),
)
NAVIGATION = (("/", "Alerts"), ("/models", "Models"), ("/stream", "Stream"))

# What a page asks for only where its reader may: a browser logs each answer that is an error.
OFFERS = {
    "stream": "/v1/alerts/stream",
    "session": "/v1/session",
    "similar": "/v1/alerts/{alert_id}/similar",
    "audit": "/v1/audit",
}


def add(app: FastAPI) -> None:
    """Serves the pages, and their files under `/static`."""
    for place in PLACES:
        app.add_api_route(place.path, partial(_show, place), include_in_schema=False)
    app.add_api_route(kinds.PATH, _explain, include_in_schema=False)
    app.mount(_Static.path, _Static(directory=HERE / "static"), name="static")


def _show(place: Place, caller: Who) -> HTMLResponse:
    allowed = {*caller.scopes, Open.CALLERS}
    offers = [name for name, path in OFFERS.items() if policy.need("GET", path) in allowed]
    return HTMLResponse(_text(place, " ".join(offers)))


def _explain(name: str) -> HTMLResponse:
    """What a kind of error means: where its `type` leads."""
    kind = kinds.KINDS.get(name)
    if kind is None:
        raise problems.missing("kind of problem")
    text = templating.render("problem.html", title=kind.title, sheets=("login",), kind=kind)
    return HTMLResponse(text, headers={"Cache-Control": "public, max-age=3600"})


@cache
def _text(place: Place, offers: str) -> str:
    return templating.render(
        f"{place.name}.html",
        title=place.title,
        place=place.within,
        places=NAVIGATION,
        script=f"{place.name}-page",
        sheets=place.sheets,
        offers=offers,
    )


class _Static(StaticFiles):
    path = "/static"  # what the metrics know these requests by: a mount leaves no route behind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self
        await super().__call__(scope, receive, send)

    def file_response(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        response = super().file_response(*args, **kwargs)
        # Kept, but asked for again each time (by its ETag): a release changes all files at once.
        response.headers["Cache-Control"] = "no-cache"
        return response

"""The analyst's page and its files."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

HERE = Path(__file__).parent


def add(app: FastAPI) -> None:
    """Serves the page at `/` and its files under `/static`."""
    page = (HERE / "templates" / "index.html").read_text(encoding="utf-8")

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page)

    app.mount(_Static.path, _Static(directory=HERE / "static"), name="static")


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

"""Models."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api import cursors, declared, problems
from api.context import Ctx
from api.parameters import ModelName, ModelParameters, Paged
from api.replies import ModelRecordReply, ModelReply, Page, PointReply, VersionReply
from tidegate.store import promotions, stats
from tidegate.store.promotions import KnownModel
from tidegate.store.stats import ModelStatus, VersionInfo

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", responses=declared.LISTED)
def list_models(context: Ctx, asked: Annotated[Paged, Query()]) -> Page[ModelReply]:
    """Models by name, each with its newest version and the newest value of each metric."""
    after = None if asked.after is None else cursors.read_text("model", asked.after)
    with context.pool.connection() as conn:
        found = stats.models(conn, limit=asked.limit + 1, after=after)
        known, serving = promotions.known(conn), promotions.serving(conn)
    shown, end = cursors.page(found, asked.limit, _model_cursor)
    return Page(data=[_reply(model, known.get(model.name), serving) for model in shown], next=end)


@router.get("/models/{name}", responses=declared.FETCHED)
def get_model(
    context: Ctx, name: ModelName, asked: Annotated[ModelParameters, Query()]
) -> ModelRecordReply:
    """A model's versions, newest first, and its metrics over event time."""
    after = None if asked.after is None else cursors.read_at_id("version", asked.after)
    with context.pool.connection() as conn:
        found = stats.versions(conn, name, limit=asked.limit + 1, after=after)
        series = stats.series(conn, name, points=asked.points)
        known, serving = promotions.known(conn).get(name), promotions.serving(conn)
    if not found and not series and known is None and after is None:
        raise problems.missing("model")
    shown, end = cursors.page(found, asked.limit, _version_cursor)
    return ModelRecordReply(
        name=name,
        **_role(name, known, serving),
        versions=Page(data=[VersionReply.model_validate(info) for info in shown], next=end),
        metrics={
            metric: [PointReply.model_validate(point) for point in points]
            for metric, points in series.items()
        },
    )


def _reply(model: ModelStatus, known: KnownModel | None, serving: str) -> ModelReply:
    latest = None if model.latest is None else VersionReply.model_validate(model.latest)
    return ModelReply(
        name=model.name,
        **_role(model.name, known, serving),
        latest=latest,
        metrics={name: PointReply.model_validate(point) for name, point in model.metrics.items()},
    )


def _role(name: str, known: KnownModel | None, serving: str) -> dict[str, Any]:
    return {
        "serving": name == serving,
        "servable": None if known is None else known.servable,
        "running": None if known is None else known.running,
    }


def _model_cursor(model: ModelStatus) -> str:
    return cursors.text("model", model.name)


def _version_cursor(info: VersionInfo) -> str:
    return cursors.at_id("version", info.stream_time, info.version)

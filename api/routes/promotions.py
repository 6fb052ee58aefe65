"""Which model serves: promoted, taken back, and who did."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from api import cursors, declared, kinds, problems
from api.access.guard import Actor
from api.context import Context, Ctx
from api.parameters import ModelName, Paged, PromotionBody, json_only
from api.replies import Page, PromotionReply
from tidegate.store import promotions
from tidegate.store.connection import Conn
from tidegate.store.promotions import CannotPromote, Promotion, UnknownModel

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/promotions", responses=declared.LISTED)
def list_promotions(context: Ctx, asked: Annotated[Paged, Query()]) -> Page[PromotionReply]:
    """Promotions and rollbacks, newest first."""
    after = None if asked.after is None else cursors.read_number("promotion", asked.after)
    with context.pool.connection() as conn:
        found = promotions.history(conn, limit=asked.limit + 1, after=after)
    shown, end = cursors.page(found, asked.limit, _cursor)
    return Page(data=[PromotionReply.model_validate(row) for row in shown], next=end)


@router.post(
    "/models/{name}/promote",
    response_model=PromotionReply,
    responses={**declared.CHANGED, **declared.told(kinds.CONFLICT)},
    dependencies=[Depends(json_only)],
)
def promote_model(
    context: Ctx, actor: Actor, name: ModelName, body: PromotionBody
) -> PromotionReply | Response:
    """Makes a model serve: a running flow changes over within seconds."""
    change = partial(promotions.promote, model=name, actor=actor, reason=body.reason)
    return _changed(context, change, by_name=True)


@router.post(
    "/promotions/rollback",
    response_model=PromotionReply,
    responses={**declared.SENT, **declared.told(kinds.CONFLICT)},
    dependencies=[Depends(json_only)],
)
def roll_back(context: Ctx, actor: Actor, body: PromotionBody) -> PromotionReply | Response:
    """Takes back the newest promotion that stands: called twice, it goes two steps back."""
    return _changed(context, partial(promotions.rollback, actor=actor, reason=body.reason))


def _changed(
    context: Context, change: Callable[[Conn], Promotion], *, by_name: bool = False
) -> PromotionReply | Response:
    try:
        with context.writing() as conn:
            done = change(conn)
    except CannotPromote as ex:
        if by_name and isinstance(ex, UnknownModel):
            raise problems.missing("model") from ex  # which one is not repeated
        return problems.reply(kinds.CONFLICT, str(ex))
    return PromotionReply.model_validate(done)


def _cursor(promotion: Promotion) -> str:
    return cursors.number("promotion", promotion.promotion_id)

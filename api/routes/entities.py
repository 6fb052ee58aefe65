"""Cards and terminals, as an analyst wants them beside an alert."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from api import declared, problems
from api.case_replies import CardReply, TerminalReply
from api.context import Ctx
from tidegate.store import entities

router = APIRouter(prefix="/v1", tags=["cards and terminals"])

Entity = Annotated[
    str,
    Path(min_length=1, max_length=256, pattern=r"^[^\x00]+$", description="may contain slashes"),
]


@router.get("/cards/{card_token:path}", responses=declared.FETCHED)
def get_card(context: Ctx, card_token: Entity) -> CardReply:
    """A card's last 30 days."""
    with context.pool.connection() as conn:
        found = entities.card(conn, card_token)
    if found is None:
        raise problems.missing("card")
    return CardReply.model_validate(found)


@router.get("/terminals/{terminal_id:path}", responses=declared.FETCHED)
def get_terminal(context: Ctx, terminal_id: Entity) -> TerminalReply:
    """A terminal's last 30 days, by hour."""
    with context.pool.connection() as conn:
        found = entities.terminal(conn, terminal_id)
    if found is None:
        raise problems.missing("terminal")
    return TerminalReply.model_validate(found)

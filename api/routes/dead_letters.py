"""Dead letters."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api import cursors, problems
from api.context import Ctx
from api.parameters import DeadLetterParameters
from api.replies import DeadLetterReply, Page
from tidegate.store import queries
from tidegate.store.queries import DeadLetter

router = APIRouter(prefix="/v1", tags=["dead letters"])


@router.get("/dead-letters", responses=problems.LISTED)
def list_dead_letters(
    context: Ctx, asked: Annotated[DeadLetterParameters, Query()]
) -> Page[DeadLetterReply]:
    """Messages that could not be taken, last stored first."""
    after = None if asked.after is None else cursors.read_number("dead letter", asked.after)
    with context.pool.connection() as conn:
        found = queries.dead_letters(conn, limit=asked.limit + 1, reason=asked.reason, after=after)
    shown, end = cursors.page(found, asked.limit, _cursor)
    return Page(data=[DeadLetterReply.model_validate(letter) for letter in shown], next=end)


def _cursor(letter: DeadLetter) -> str:
    return cursors.number("dead letter", letter.id)

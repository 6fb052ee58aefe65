"""Who calls, and the end of a session."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from api import declared, kinds
from api.access import cookies
from api.access.guard import Who
from api.context import Ctx
from tidegate.store import sessions

router = APIRouter(prefix="/v1", tags=["access"])


class SessionReply(BaseModel):
    """Who calls, and what they may."""

    actor: str = Field(description="as the audit names them")
    name: str
    role: str | None = Field(description="null of a token, which may have several")
    scopes: list[str]
    expires_at: datetime | None = Field(description="of the session, key or token; null: never")
    csrf_token: str | None = Field(
        description="of a session: what changes must be sent with as `X-CSRF-Token`"
    )


class EndedReply(BaseModel):
    """The end of a session."""

    ended: bool = Field(description="false: there was none, the request came with a key or token")


@router.get("/session", responses=declared.UNAVAILABLE)
async def get_session(request: Request, caller: Who) -> SessionReply:
    """Who calls, by whichever way they are known."""
    secret = None if caller.session_hash is None else cookies.read(request.scope, request.headers)
    return SessionReply(
        actor=caller.actor,
        name=caller.name,
        role=caller.role,
        scopes=sorted(caller.scopes),
        expires_at=caller.expires_at,
        csrf_token=None if secret is None else cookies.token(secret),
    )


# No other site's page can make a browser send DELETE without asking first.
@router.delete("/session", responses={**declared.told(kinds.READ_ONLY), **declared.UNAVAILABLE})
def end_session(request: Request, response: Response, context: Ctx, caller: Who) -> EndedReply:
    """Ends the session of the cookie that the request came with."""
    if caller.session_hash is None:
        return EndedReply(ended=False)
    with context.writing() as conn:
        sessions.end(conn, caller.session_hash, actor=caller.actor)
    secret = cookies.read(request.scope, request.headers)
    if secret is not None:
        request.app.state.login.who.forget(secret)
    response.headers["Set-Cookie"] = cookies.ended(request.scope)
    return EndedReply(ended=True)

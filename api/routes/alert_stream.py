"""Alerts as they come and change, as server-sent events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from api import declared, kinds, problems
from api.context import Context, Ctx
from api.cursors import CursorError
from api.event_stream import EventStream
from api.feed import Feed
from api.parameters import Alerted
from api.streams import Full, Stream
from tidegate import metrics
from tidegate.store.alert_events import Position

router = APIRouter(prefix="/v1", tags=["alerts"])

BEGIN_SECONDS = 3.0  # as long as others wait for a connection
FULL_SECONDS = 30  # until it may be tried again where no more streams may be open


class StreamParameters(BaseModel):
    """Which alerts, and from where on."""

    model_config = ConfigDict(extra="forbid")

    decision: Alerted | None = None
    after: str | None = Field(
        None, max_length=64, description="an event's `id`; `Last-Event-ID` goes before it"
    )


STREAMED: declared.Responses = {
    200: {
        "description": "Events `alert.created` and `alert.changed` with an alert, and `reset`.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    **declared.told(kinds.INVALID, kinds.UNAVAILABLE, kinds.BUSY, kinds.SCHEMA),
}


@router.get("/alerts/stream", response_class=Response, responses=STREAMED)
async def stream_alerts(
    context: Ctx,
    asked: Annotated[StreamParameters, Query()],
    last_event_id: Annotated[
        str | None,
        Header(max_length=64, description="the `id` of the last event that was received"),
    ] = None,
) -> Response:
    """New and changed alerts from now on, or from an event on."""
    start = _read(last_event_id or asked.after)
    streams = context.streams
    if not await streams.begun(BEGIN_SECONDS):
        return problems.reply(kinds.UNAVAILABLE, "the database does not answer")
    try:
        stream = streams.open(asked.decision)
    except Full:
        later = {"Retry-After": str(FULL_SECONDS)}
        detail = f"{streams.live.most} streams are open already"
        return problems.reply(kinds.BUSY, detail, headers=later)
    metrics.STREAMS_OPEN.inc()
    return _Counted(context, stream, start)


class _Counted(EventStream):
    """A stream that is counted as open until it ends."""

    def __init__(self, context: Context, stream: Stream, start: Position | None) -> None:
        feed = Feed(context, stream, start)
        super().__init__(feed.parts(), send_seconds=context.streams.live.send_seconds)
        self._context = context
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The stream, to its end."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._context.streams.leave(self._stream)
            metrics.STREAMS_OPEN.dec()


def _read(position: str | None) -> Position | None:
    try:
        return None if position is None else Position.read(position)
    except ValueError as ex:
        raise CursorError("not the id of an event") from ex

"""Alerts as a file."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Annotated

from anyio import CancelScope, create_task_group, fail_after, to_thread
from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import Field
from starlette.types import Receive, Scope, Send

from api import declared, exporting, kinds, problems
from api.context import Context, Ctx
from api.exporting import Format
from api.parameters import AlertsAsked
from tidegate.store import exports
from tidegate.store.alerts import AlertFilter, Order

router = APIRouter(prefix="/v1", tags=["alerts"])

BATCH = 5_000  # alerts: some 10 MB in memory, and a row group of Parquet
BATCH_SECONDS = 30.0  # for the database to find a batch
# A connection and its snapshot are held as long as somebody reads: who stops is let go.
STALLED_SECONDS = 60.0  # for a client to take a batch
LONGEST_SECONDS = 1800.0


class ExportParameters(AlertsAsked):
    """Which alerts, and as what."""

    format: Format = Field("csv", description="or Parquet")

    def alerts(self) -> AlertFilter:
        """The filter that was asked for."""
        return AlertFilter(**self.model_dump(exclude={"sort", "format"}))


EXPORTED: declared.Responses = {
    **declared.told(kinds.INVALID),
    200: {
        "description": "The alerts, as they are at this moment.",
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    **declared.told(kinds.BUSY, kinds.UNAVAILABLE, kinds.SCHEMA),
}


@router.get("/alerts/export", response_class=Response, responses=EXPORTED)
def export_alerts(context: Ctx, asked: Annotated[ExportParameters, Query()]) -> Response:
    """All alerts that the filters leave, as a file."""
    if faults := asked.faults():
        return problems.invalid(faults)
    return _Export(context, asked.alerts(), asked.sort, asked.format)


class _Export(Response):
    """Reads and sends batch by batch. Nothing is held before it is called or after it ends, however
    it ends: the client may hang up, stall or read too slowly."""

    def __init__(self, context: Context, which: AlertFilter, order: Order, format: Format) -> None:
        name = f'attachment; filename="alerts.{format}"'
        super().__init__(
            media_type=exporting.MEDIA_TYPES[format], headers={"Content-Disposition": name}
        )
        del self.headers["content-length"]
        self._context = context
        self._which, self._order, self._format = which, order, format

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The whole file."""
        if not self._context.exports.acquire(blocking=False):
            await problems.reply(kinds.BUSY, "other exports go on")(scope, receive, send)
            return
        parts = self._parts()
        try:
            # The first part before the status: what goes wrong until then is told.
            first = await to_thread.run_sync(next, parts)
            with fail_after(LONGEST_SECONDS):
                async with create_task_group() as group:
                    group.start_soon(_hung_up, receive, group.cancel_scope)
                    await self._send(first, parts, send)
                    group.cancel_scope.cancel()
        except* TimeoutError as ex:
            # Whoever reads then sees a file without its end: the server cuts the connection.
            raise TimeoutError("an export took too long to be read") from ex
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(parts.close)
            self._context.exports.release()

    async def _send(self, first: bytes, parts: Generator[bytes, None, None], send: Send) -> None:
        part: bytes | None = first
        status = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(status)
        while part is not None:
            with fail_after(STALLED_SECONDS):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            part = await to_thread.run_sync(next, parts, None)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _parts(self) -> Generator[bytes, None, None]:
        with self._context.pool.connection() as conn:
            rows = exports.batches(
                conn, self._which, self._order, size=BATCH, timeout=BATCH_SECONDS
            )
            with closing(rows):
                yield from exporting.encoded(self._format, rows)


async def _hung_up(receive: Receive, scope: CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()

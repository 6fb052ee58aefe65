"""The span of a request, and what it came with."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from opentelemetry import trace
from starlette.datastructures import Headers
from starlette.types import Scope

from tidegate import tracing

# What is asked all the time, or for hours: it would hide the rest.
_NEVER = {"/healthz", "/readyz", "/metrics", "/v1/alerts/stream"}


def request(scope: Scope) -> AbstractContextManager[object]:
    """A span around a request, if it is to be recorded. In any case what is sent on meanwhile goes
    with the context that the request came with."""
    given = tracing.read(Headers(scope=scope).get(tracing.HEADER))
    if not tracing.on() or scope["path"] in _NEVER:
        return nullcontext() if given is None else trace.use_span(trace.NonRecordingSpan(given))
    parent = None if given is None else tracing.within(given)
    return tracing.around(tracing.begin(scope["method"], parent, trace.SpanKind.SERVER))


def answered(method: str, route: str, status: int, request_id: str) -> None:
    """Tells the span what became of the request. route: the template, never a path. status: 0
    where the client went away before."""
    span = trace.get_current_span()
    if not span.is_recording():
        return
    span.update_name(f"{method} {route}")
    span.set_attributes(
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status or 499,
            "tidegate.request_id": request_id,
        }
    )
    if status >= 500:
        tracing.failed(span, str(status))

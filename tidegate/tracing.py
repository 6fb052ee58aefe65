"""Traces by OpenTelemetry: what is traced, and where its spans go.

Nothing is recorded outside of `sending`; what is opened then costs a microsecond, and the context
that a payment came with is passed on as it is. Contexts travel as W3C Trace Context
(https://www.w3.org/TR/trace-context/), in one header. A span names transactions, batches, versions
and routes, as logs do, and never a card, a path or a message's content.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.util.types import AttributeValue

from tidegate import __version__, logs
from tidegate.settings import Monitoring

HEADER = "traceparent"

_TRACER = trace.get_tracer("tidegate", __version__)

_SHAPE = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_ENDING = 2.0  # seconds that the last spans may take to be sent
_REMIND = 60.0  # seconds between two lines about a collector that is away

_on = threading.Event()


@contextmanager
def sending(given: Monitoring, service: str) -> Iterator[None]:
    """Sends the spans of a service to `given.traces_url` meanwhile, if there is one; once a
    process.

    What came with a context is recorded if that says so, anything else by `given.traces_share`.
    While the collector is away spans are dropped, and nothing waits for it. Its headers,
    certificates and compression are set by OpenTelemetry's own variables, OTEL_EXPORTER_OTLP_*.
    """
    if given.traces_url is None:
        yield
        return
    # A quarter of a second and 15 MB, for those alone who trace.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from tidegate.sampling import sampler

    now_and_then = _NowAndThen()
    for handler in logging.getLogger().handlers:
        handler.addFilter(now_and_then)
    provider = TracerProvider(
        resource=Resource.create(
            {
                "service.namespace": "tidegate",
                "service.name": service,
                "service.version": __version__,
                "service.instance.id": uuid4().hex,
            }
        ),
        sampler=sampler(given.traces_share),
        shutdown_on_exit=False,  # where nobody would say for how long
    )
    exporter = OTLPSpanExporter(given.traces_url, timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    _on.set()
    try:
        yield
    finally:
        _on.clear()
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(_ENDING)


def on() -> bool:
    """Whether spans are recorded."""
    return _on.is_set()


def begin(
    name: str,
    parent: Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    *,
    links: Sequence[Link] = (),
    start: float | None = None,
    **attributes: AttributeValue,
) -> Span:
    """A span that whoever has it ends. parent: None for the span that we are in. start: seconds
    since the epoch, None for now."""
    return _TRACER.start_span(
        name,
        parent,
        kind,
        {f"tidegate.{key}": value for key, value in attributes.items()},
        links,
        start_time=None if start is None else nanoseconds(start),
    )


@contextmanager
def around(span: Span) -> Iterator[Span]:
    """A span around what is done in it, which ends then; lines that are logged meanwhile name it.
    An error is told by its kind alone: its text may hold what it was about."""
    with trace.use_span(
        span, end_on_exit=True, record_exception=False, set_status_on_exception=False
    ):
        if not span.is_recording():
            yield span
            return
        with logs.about(**ids(span.get_span_context())):
            try:
                yield span
            except BaseException as error:
                failed(span, type(error).__name__)
                raise


def span(name: str, **attributes: Any) -> AbstractContextManager[Span]:
    """A new span around what is done in it."""
    return around(begin(name, **attributes))


def past(name: str, start: float, end: float) -> None:
    """A span of what was done before, between these seconds since the epoch."""
    begin(name, start=start).end(nanoseconds(end))


def nanoseconds(seconds: float) -> int:
    """As OpenTelemetry has times."""
    return round(seconds * 1_000_000_000)


def failed(span: Span, kind: str) -> None:
    """Marks a span as one of something that went wrong."""
    span.set_attribute("error.type", kind)
    span.set_status(trace.StatusCode.ERROR)


def ids(context: SpanContext) -> dict[str, str]:
    """What a line of the log is found by."""
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }


def read(header: str | None) -> SpanContext | None:
    """The context that a header names; None where there is none, or it is not one."""
    found = None if header is None else _SHAPE.fullmatch(header)
    if found is None:
        return None
    context = SpanContext(
        int(found[1], 16),
        int(found[2], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(found[3], 16)),
    )
    return context if context.is_valid else None


def write(context: SpanContext) -> str:
    """The header of a context."""
    named = ids(context)
    return f"00-{named['trace_id']}-{named['span_id']}-{context.trace_flags & 0xFF:02x}"


def within(context: SpanContext) -> Context:
    """Where spans are children of this one."""
    return trace.set_span_in_context(NonRecordingSpan(context))


def current() -> str | None:
    """The header for what is sent from here, if there is a context to go with it."""
    context = trace.get_current_span().get_span_context()
    return write(context) if context.is_valid else None


class _NowAndThen(logging.Filter):
    """Lets OpenTelemetry's own lines pass once in a while: each span that is dropped has one."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it passes."""
        if not record.name.startswith("opentelemetry."):
            return True
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _REMIND
        return True

"""What a collector of traces was sent, by a real exporter over HTTP, read as OpenTelemetry's
protocol has it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.api.receiver import Receiver, receiving


@dataclass(frozen=True)
class Recorded:
    """A span. parent: "" for none; links: the span ids of what it is linked to."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    kind: int
    attributes: dict[str, Any]
    links: list[str]
    events: list[str]
    start: int  # nanoseconds since the epoch
    end: int
    failed: bool
    raw: bytes


class Collector:
    """Reads what its receiver got."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.url = f"http://127.0.0.1:{receiver.port}/v1/traces"

    def spans(self) -> list[Recorded]:
        """All spans so far."""
        return [span for request in list(self.receiver.received) for span in _spans(request.body)]

    def named(self, name: str) -> list[Recorded]:
        """Those of this name."""
        return [span for span in self.spans() if span.name == name]


def _spans(body: bytes) -> Iterator[Recorded]:
    if body.startswith(b"\x1f\x8b"):
        body = gzip.decompress(body)
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = {a.key: a.value.string_value for a in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Recorded(
                    service["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.kind,
                    {a.key: _value(a.value) for a in span.attributes},
                    [link.span_id.hex() for link in span.links],
                    [event.name for event in span.events],
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.status.code == 2,
                    span.SerializeToString(),
                )


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a port of its own."""
    with receiving() as receiver:
        yield Collector(receiver)

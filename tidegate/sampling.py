"""Which spans are recorded: apart from `tidegate.tracing`, for what it imports."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes


def sampler(share: float) -> Sampler:
    """Records what its parent records; without a parent what is linked to something that is
    recorded, and this share of the rest."""
    return ParentBased(_Linked(share))


class _Linked(Sampler):
    def __init__(self, share: float) -> None:
        self._rest = TraceIdRatioBased(share)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """As `sampler` says."""
        linked = any(link.context.trace_flags.sampled for link in links or ())
        chosen = ALWAYS_ON if linked else self._rest
        return chosen.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        """In the words of the specification."""
        return f"Linked{{{self._rest.get_description()}}}"

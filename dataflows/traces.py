"""What the traces and the log say of a batch that is stored, and of its payments.

A batch is a trace of its own: when its first payment was read, when its last was scored, how long
storing and publishing took. A payment whose sender traces it gets a span in the sender's trace,
linked to that of its batch, and its decision is published with that span's context; so whoever
reads decisions goes on in the same trace.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from opentelemetry.trace import Link, Span, SpanContext, SpanKind

from dataflows.messages import Envelope, Outcome
from tidegate import logs, tracing
from tidegate.schema import SECOND, Decision, Decisions

log = logging.getLogger(__name__)

# A span takes some 30 µs, so that this many take next to nothing, however much is traced.
MOST_A_SECOND = 200

_SAMPLED = b"13579bdf"  # last digits of a header that says so

Place = tuple[int, int]  # of an outcome in its batch, and of a row in it


@dataclass(frozen=True)
class Batch:
    """What is on its way into the database at once. headers: what replaces those of payments, by
    their places, that are traced."""

    headers: Mapping[Place, str] = field(default_factory=dict)

    def envelope(self, place: int, given: Envelope | None) -> Envelope | None:
        """The envelope that decisions of an outcome are sent in: with our contexts in place of
        those that the payments came with."""
        rows = {row: header for (outcome, row), header in self.headers.items() if outcome == place}
        if given is None or not rows:
            return given
        headers = given.headers.copy()
        for row, header in rows.items():
            kept = [(name, value) for name, value in headers[row] if name != tracing.HEADER]
            headers[row] = [*kept, (tracing.HEADER, header.encode())]
        return replace(given, headers=headers)


class Traces:
    """Makes the spans of a writer of a run's generation; for one thread."""

    def __init__(self, generation: int) -> None:
        self._generation = generation
        self._left = MOST_A_SECOND
        self._until = 0.0

    @contextmanager
    def batch(self, outcomes: Sequence[Outcome]) -> Iterator[Batch]:
        """Around the storing of outcomes. A batch is named by the run's generation and its step's
        number. Several may be stored at once, or one in parts: lines that are logged meanwhile name
        the last."""
        with logs.about(batch=self._name(outcomes[-1])), ExitStack() as opened:
            batch = Batch()
            if tracing.on():
                batch = opened.enter_context(self._traced(outcomes))
            began = time.monotonic()
            yield batch
            if log.isEnabledFor(logging.DEBUG):
                self._tell(outcomes, time.monotonic() - began)

    def _name(self, outcome: Outcome) -> str:
        return f"{self._generation}-{outcome.number}"

    @contextmanager
    def _traced(self, outcomes: Sequence[Outcome]) -> Iterator[Batch]:
        parents = self._sampled(outcomes)
        received = [outcome.received for outcome in outcomes if outcome.received]
        parts = [outcome.decisions for outcome in outcomes if outcome.decisions is not None]
        begin = min(received, default=time.time())
        whole = tracing.begin(
            "score batch",
            kind=SpanKind.CONSUMER,
            links=[Link(parent) for parent in parents.values()],
            start=begin,
            batch=self._name(outcomes[-1]),
            payments=sum(map(len, parts)),
        )
        with tracing.around(whole):
            if parts:
                scored = max(part.scored_at for part in parts) / SECOND
                tracing.past("score", begin, scored)
            link = [Link(whole.get_span_context())] if whole.is_recording() else []
            spans = {
                (place, row): self._payment(outcomes[place], row, parent, link)
                for (place, row), parent in parents.items()
            }
            headers = {p: tracing.write(s.get_span_context()) for p, s in spans.items()}
            try:
                yield Batch(headers)
            except BaseException as error:
                for payment in spans.values():
                    tracing.failed(payment, type(error).__name__)
                raise
            finally:
                for payment in spans.values():
                    payment.end()

    def _sampled(self, outcomes: Sequence[Outcome]) -> dict[Place, SpanContext]:
        """The contexts of payments whose senders have them traced, as many as may be now."""
        found: dict[Place, SpanContext] = {}
        for place, outcome in enumerate(outcomes):
            if outcome.envelope is None or outcome.decisions is None:
                continue
            for row, headers in enumerate(outcome.envelope.headers.tolist()):
                if not headers or (context := _sampled(headers)) is None:
                    continue
                if not self._may():
                    return found
                found[place, row] = context
        return found

    def _may(self) -> bool:
        now = time.monotonic()
        if now >= self._until:
            self._left, self._until = MOST_A_SECOND, now + 1
        self._left -= 1
        return self._left >= 0

    def _payment(
        self, outcome: Outcome, row: int, parent: SpanContext, links: Sequence[Link]
    ) -> Span:
        part = outcome.decisions
        assert part is not None
        span = tracing.begin(
            "score payment",
            tracing.within(parent),
            SpanKind.CONSUMER,
            links=links,
            start=outcome.received,
            batch=self._name(outcome),
            transaction_id=part.batch.transaction_id[row],
            decision=_word(part, row),
            model_version=part.model_version,
        )
        span.add_event("scored", timestamp=part.scored_at * 1_000)  # in nanoseconds
        return span

    def _tell(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        payments = 0
        for outcome in outcomes:
            of = {"batch": self._name(outcome)}
            if (part := outcome.decisions) is not None:
                payments += len(part)
                for row, name in enumerate(part.batch.transaction_id.tolist()):
                    told = {"transaction_id": name, "decision": _word(part, row)}
                    log.debug("decided", extra={**of, **told})
            if (dead := outcome.dead) is not None:
                places = zip(dead.topic, dead.partition.tolist(), dead.offset.tolist(), strict=True)
                for (topic, partition, offset), reason in zip(places, dead.reason, strict=True):
                    place = {"topic": topic, "partition": partition, "offset": offset}
                    log.debug("a dead letter", extra={**of, **place, "reason": reason})
        log.debug("stored", extra={"payments": payments, "ms": round(1000 * seconds, 1)})


def _sampled(headers: Sequence[tuple[str, bytes | None]]) -> SpanContext | None:
    # The last digit says whether: most say no, and are not looked at any further.
    for name, value in headers:
        if name == tracing.HEADER and value and value[-1] in _SAMPLED:
            return tracing.read(value.decode("latin-1"))
    return None


def _word(part: Decisions, row: int) -> str:
    return Decision(int(part.decision[row])).name.lower()

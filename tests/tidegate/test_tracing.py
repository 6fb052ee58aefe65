"""Traces, as the real exporter sends them, from processes of their own: each has one provider."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, SpanContext, TraceFlags

from tests.collector import Collector, collecting
from tidegate import tracing
from tidegate.sampling import sampler

START = """
import logging, sys, time
from tidegate import logs, tracing
from tidegate.settings import Monitoring
logs.configure("debug", "json")
given = Monitoring(traces_url=sys.argv[1] or None, traces_share=float(sys.argv[2]))
with tracing.sending(given, "tidegate-test"):
"""


def run(code: str, url: str, share: float = 1.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START + code, url, str(share)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_a_context_is_read_as_it_was_written(trace_id: int, span_id: int, flags: int) -> None:
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    assert tracing.read(tracing.write(context)) == context


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-4539578763621486",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n",
    ],
)
def test_what_is_no_context_is_none(header: str | None) -> None:
    assert tracing.read(header) is None


@pytest.mark.parametrize(("share", "least", "most"), [(0, 0, 0), (0.1, 50, 170), (1, 1000, 1000)])
def test_a_share_is_recorded_and_whatever_something_recorded_leads_to(
    share: float, least: int, most: int
) -> None:
    chosen = sampler(share)
    ids = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(1, 1001)]

    def recorded(flags: int | None) -> int:
        links = [] if flags is None else [Link(SpanContext(7, 7, True, TraceFlags(flags)))]
        found = [chosen.should_sample(None, id, "it", links=links) for id in ids]
        return sum(one.decision is Decision.RECORD_AND_SAMPLE for one in found)

    assert least <= recorded(None) <= most
    assert recorded(0) == recorded(None)
    assert recorded(1) == 1000


def test_spans_nest_and_lines_that_are_logged_within_name_them() -> None:
    code = """
    with tracing.span("outer", payments=3):
        with tracing.span("inner"):
            logging.getLogger("it").info("inside", extra={"rows": 3})
            print(tracing.current())
    logging.getLogger("it").info("outside")
"""
    with collecting() as collector:
        ended = run(code, collector.url)
        inner, outer = collector.spans()
    assert (inner.name, outer.name, inner.service) == ("inner", "outer", "tidegate-test")
    assert (inner.trace, inner.parent) == (outer.trace, outer.id)
    assert outer.attributes == {"tidegate.payments": 3}
    told = tracing.read(ended.stdout.strip())
    assert told is not None
    assert tracing.ids(told) == {"trace_id": inner.trace, "span_id": inner.id}
    assert told.trace_flags.sampled
    inside, outside = ended.stderr.splitlines()
    assert f'"trace_id": "{inner.trace}", "span_id": "{inner.id}", "rows": 3' in inside
    assert "trace_id" not in outside


def test_an_error_is_told_by_its_kind_alone() -> None:
    code = """
    try:
        with tracing.span("it"):
            raise ValueError("of the card 4539578763621486")
    except ValueError:
        pass
"""
    with collecting() as collector:
        run(code, collector.url)
        (span,) = collector.spans()
    assert (span.failed, span.attributes) == (True, {"error.type": "ValueError"})
    assert b"4539578763621486" not in span.raw


def test_nothing_is_recorded_where_nothing_is_asked_for() -> None:
    code = """
    with tracing.span("it"):
        print(tracing.on(), tracing.current())
    print("opentelemetry.sdk" in sys.modules)
"""
    assert run(code, "").stdout.split() == ["False", "None", "False"]


def test_a_collector_that_is_away_holds_nobody_up_and_is_told_of_once() -> None:
    code = """
    began = time.monotonic()
    for _ in range(20_000):
        with tracing.span("it"):
            pass
    print(time.monotonic() - began)
"""
    began = time.monotonic()
    ended = run(code, "http://127.0.0.1:9/v1/traces")
    assert float(ended.stdout) < 20
    assert time.monotonic() - began < 40
    lines = [line for line in ended.stderr.splitlines() if '"opentelemetry' in line]
    assert len(lines) == 1
    assert "Traceback" not in ended.stderr


def test_a_stop_sends_what_there_is() -> None:
    code = """
    with tracing.span("last"):
        pass
"""
    with collecting() as collector:
        run(code, collector.url)
        assert names(collector) == ["last"]


def names(collector: Collector) -> list[str]:
    return [span.name for span in collector.spans()]

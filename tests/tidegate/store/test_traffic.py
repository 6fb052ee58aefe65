"""Every query on every kind of database against a recount of the rows in Python."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tests.api.rows import START, put_score
from tidegate.store import aggregates, traffic
from tidegate.store.traffic import EntitySeries, Step, TopTerminal

SINCE = START + timedelta(hours=3)
UNTIL = START + timedelta(days=2, hours=2)
WHOLE = {"since": START - timedelta(days=100), "until": START + timedelta(days=100)}
EDGES = [0.0, *(edge / 1000 for edge in traffic.SCORE_EDGES), 1.0]


@pytest.fixture
def reader(everywhere):
    everywhere.autocommit = True
    return everywhere


def drawn(draw, n, days=3.0):
    at = START + timedelta(seconds=round(draw.uniform(0, days * 86400), 3))
    late = draw.choice((-0.5, 0, 0.01, 0.2, 3, 59, 300, 1e6)) + draw.random() / 100
    return {
        "transaction_id": f"t-{n}",
        "event_time": at,
        "terminal_id": f"terminal-{min(draw.randrange(9), draw.randrange(9))}",
        "merchant_id": draw.choice((None, "m-1", "m-2")),
        "amount_minor": draw.choice((0, 1, 12_345, 2**63 - 1)),  # their sum is no bigint
        "currency": draw.choice(("EUR", "JPY")),
        "score": draw.choice((0.0, 0.001, 0.9, 1.0, draw.random(), draw.random() / 100)),
        "decision": draw.choice(("approve", "approve", "review", "decline")),
        "scored_at": at + timedelta(seconds=late),
    }


def fill(conn, rows):
    for row in rows:
        put_score(conn, seconds=0, **row)


@pytest.fixture
def rows(reader):
    """400 rows: some before a refresh, then late and new ones; of continuous aggregates a second
    refresh counts the late ones."""
    draw = random.Random(5)
    made = [drawn(draw, n, days=2) for n in range(250)]
    fill(reader, made)
    aggregates.refresh(reader)
    later = [drawn(draw, n) for n in range(250, 400)]
    fill(reader, later)
    if aggregates.kind(reader) is aggregates.Kind.CONTINUOUS:
        aggregates.refresh(reader)
    return made + later


def begin(at, step):
    at = at.replace(second=0, microsecond=0)
    if step is not Step.MINUTE:
        at = at.replace(minute=0)
    return at.replace(hour=0) if step is Step.DAY else at


def within(rows, step, since, until):
    return [row for row in rows if since <= begin(row["event_time"], step) < until]


def entity(rows, step):
    found = defaultdict(list)
    for row in rows:
        found[row["currency"], begin(row["event_time"], step)].append(row)
    return [
        EntitySeries(
            currency=currency,
            buckets=[bucket for of, bucket in sorted(found) if of == currency],
            decisions=[len(group) for group in of_currency],
            not_approved=[
                sum(row["decision"] != "approve" for row in group) for group in of_currency
            ],
            amount_minor=[sum(row["amount_minor"] for row in group) for group in of_currency],
        )
        for currency in sorted({of for of, _ in found})
        for of_currency in [[found[key] for key in sorted(found) if key[0] == currency]]
    ]


def test_what_was_decided_over_time_is_what_the_rows_say(reader, rows):
    for step in Step:
        expected: dict[tuple, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for row in within(rows, step, SINCE, UNTIL):
            key = row["currency"], row["decision"], begin(row["event_time"], step)
            count, amount = expected[key]
            expected[key] = count + 1, amount + row["amount_minor"]
        found = traffic.decided(reader, step, since=SINCE, until=UNTIL)
        kinds = [(series.currency, series.decision) for series in found]
        assert kinds == sorted({key[:2] for key in expected})
        told = {}
        for series in found:
            assert list(series.buckets) == sorted(series.buckets)
            for bucket, *values in zip(
                series.buckets, series.decisions, series.amount_minor, strict=True
            ):
                assert bucket.tzinfo is not None
                told[series.currency, series.decision, bucket] = tuple(values)
        assert told == expected


def test_the_spread_of_scores_is_what_the_rows_say(reader, rows):
    for step in Step:
        spread = traffic.spread(reader, step, since=SINCE, until=UNTIL)
        chosen = within(rows, step, SINCE, UNTIL)
        assert spread.decisions == len(chosen)
        expected = Counter(
            next(n for n, high in enumerate([*EDGES[1:-1], 2]) if row["score"] < high)
            for row in chosen
        )
        assert [one.decisions for one in spread.scores] == [
            expected[n] for n in range(len(EDGES) - 1)
        ]
        assert [(one.low, one.high) for one in spread.scores] == list(pairwise(EDGES))


def test_a_percentile_of_latency_lies_in_the_bucket_of_the_true_one(reader, rows):
    spread = traffic.spread(reader, Step.HOUR, since=SINCE, until=UNTIL)
    late = sorted(
        (row["scored_at"] - row["event_time"]).total_seconds()
        for row in within(rows, Step.HOUR, SINCE, UNTIL)
    )
    assert spread.latency is not None
    edges = [0.0, *(edge / 1000 for edge in traffic.LATENCY_EDGES)]
    for share, found in ((0.5, spread.latency.p50), (0.95, spread.latency.p95)):
        true = late[-int(-share * len(late) // 1) - 1]
        low = max((edge for edge in edges if edge <= true), default=0.0)
        high = min((edge for edge in edges if edge > true), default=300.0)
        assert low <= found <= high
    assert spread.latency.p99 == 300.0  # an eighth are days late


def test_percentiles_are_interpolated_evenly_between_edges(reader):
    assert traffic.spread(reader, Step.HOUR, **WHOLE).latency is None
    for n in range(100):  # all of them between 1 and 2.5 s
        put_score(reader, f"t-{n}", n, scored_at=START + timedelta(seconds=n + 2))
    latency = traffic.spread(reader, Step.HOUR, **WHOLE).latency
    assert latency is not None
    assert latency.p50 == pytest.approx(1.75)
    assert latency.p95 == pytest.approx(1 + 1.5 * 0.95)
    assert latency.p99 == pytest.approx(1 + 1.5 * 0.99)


def test_a_terminals_and_a_merchants_series_are_what_the_rows_say(reader, rows):
    for step in (Step.HOUR, Step.DAY):
        chosen = within(rows, step, SINCE, UNTIL)
        for id in ("terminal-0", "terminal-8", "nobody"):
            found = traffic.terminal(reader, id, step, since=SINCE, until=UNTIL)
            assert found == entity([row for row in chosen if row["terminal_id"] == id], step)
        for id in ("m-1", "m-2", "nobody"):
            found = traffic.merchant(reader, id, step, since=SINCE, until=UNTIL)
            assert found == entity([row for row in chosen if row["merchant_id"] == id], step)


def test_top_terminals_come_by_what_was_not_approved(reader, rows):
    for step in (Step.HOUR, Step.DAY):
        chosen = within(rows, step, SINCE, UNTIL)
        terminals = Counter(row["terminal_id"] for row in chosen)
        bad = Counter(row["terminal_id"] for row in chosen if row["decision"] != "approve")
        expected = sorted(
            (TopTerminal(id, terminals[id], count) for id, count in bad.items()),
            key=lambda top: (-top.not_approved, top.decisions, top.terminal_id),
        )
        for limit in (1, 3, 100):
            found = traffic.top_terminals(reader, step, since=SINCE, until=UNTIL, limit=limit)
            assert found == expected[:limit]


def test_an_empty_span_has_nothing_in_it(reader):
    span = {"since": datetime(2020, 1, 1, tzinfo=UTC), "until": datetime(2020, 1, 2, tzinfo=UTC)}
    for step in Step:
        assert traffic.decided(reader, step, **span) == []
        spread = traffic.spread(reader, step, **span)
        assert (spread.decisions, spread.latency) == (0, None)
        assert sum(one.decisions for one in spread.scores) == 0
    assert traffic.terminal(reader, "terminal-1", Step.HOUR, **span) == []
    assert traffic.top_terminals(reader, Step.DAY, **span, limit=10) == []

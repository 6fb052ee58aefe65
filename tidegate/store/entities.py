"""What an analyst wants to know of a card or terminal beside an alert.

Everything is read from the end of an index and bounded, so that a busy card or terminal costs no
more than others; `complete` says whether the bound cut something off. Times are event times, and
spans end at the newest one of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

from tidegate.store import queries, traffic
from tidegate.store.connection import Conn
from tidegate.store.traffic import EntitySeries, Step

PAYMENTS = 1_000  # newest ones that are read
ALERTS = 1_000
TERMINALS = 10  # of a card
_DAYS = 30
SPANS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=_DAYS)}


@dataclass(frozen=True, slots=True)
class Span:
    """What was decided in a span up to the newest event time."""

    decisions: Mapping[str, int]  # by decision; of a terminal: all, and not_approved
    amount_minor: Mapping[str, int]  # minor units, by currency


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of payments, by their standing labels."""

    payments: int  # that were looked at
    frauds: int
    genuine: int


@dataclass(frozen=True, slots=True)
class UsedTerminal:
    """A terminal that a card uses."""

    terminal_id: str
    decisions: int
    last_seen: datetime  # event time, aware, UTC


@dataclass(frozen=True, slots=True)
class Card:
    """A card's last 30 days, and its alerts."""

    card_token: str
    first_seen: datetime | None  # event time, aware, UTC; None: no decision of it is kept
    last_seen: datetime | None
    spans: Mapping[str, Span]  # by name, as in SPANS
    terminals: Sequence[UsedTerminal]  # most used first
    known: Known
    alerts: int  # of the newest ones
    open_alerts: int  # of those, not closed
    complete: bool


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal's last 30 days, and its alerts."""

    terminal_id: str
    first_seen: datetime | None
    last_seen: datetime | None
    spans: Mapping[str, Span]
    series: Sequence[EntitySeries]  # by hour
    known: Known
    alerts: int
    open_alerts: int
    complete: bool


_RECENT: dict[str, LiteralString] = {
    column: f"""
        WITH recent AS MATERIALIZED (
            SELECT transaction_id, event_time, decision, currency, amount_minor, terminal_id
            FROM score
            WHERE {column} = %(id)s AND event_time > %(since)s AND event_time <= %(until)s
            ORDER BY event_time DESC LIMIT %(limit)s
        )
        SELECT event_time, decision, currency, amount_minor, terminal_id, standing.fraud
        FROM recent LEFT JOIN LATERAL (
            SELECT fraud FROM label WHERE label.transaction_id = recent.transaction_id
            ORDER BY labelled_at DESC, fraud DESC, source LIMIT 1
        ) AS standing ON true
        ORDER BY event_time DESC
    """
    for column in ("card_token", "terminal_id")
}

# Each end by itself: of a hypertable, chunks are then opened from that end until one has a row.
_SEEN: dict[str, LiteralString] = {
    column: f"""
        SELECT
            (SELECT event_time FROM score WHERE {column} = %(id)s ORDER BY event_time LIMIT 1),
            (SELECT event_time FROM score WHERE {column} = %(id)s ORDER BY event_time DESC LIMIT 1)
    """
    for column in ("card_token", "terminal_id")
}

_ALERTS: dict[str, LiteralString] = {
    column: f"""
        SELECT count(*), count(*) FILTER (WHERE status <> 'closed') FROM (
            SELECT status FROM alert WHERE {column} = %(id)s
            ORDER BY created_at DESC, alert_id LIMIT %(limit)s
        ) AS newest
    """
    for column in ("card_token", "terminal_id")
}


def card(conn: Conn, card_token: str) -> Card | None:
    """A card, or None where neither a decision nor an alert of it is there."""
    read = _read(conn, "card_token", card_token)
    if read is None:
        return None
    first, last, newest, rows, alerts, open_alerts, complete = read
    used: dict[str, list[datetime]] = {}
    for at, _, _, _, terminal_id, _ in rows:
        used.setdefault(terminal_id, []).append(at)
    terminals = [UsedTerminal(id, len(times), times[0]) for id, times in used.items()]
    terminals.sort(key=lambda one: (-one.decisions, one.terminal_id))
    return Card(
        card_token=card_token,
        first_seen=first,
        last_seen=last,
        spans={
            name: _span([row for row in rows if row[0] > newest - length])
            for name, length in SPANS.items()
        },
        terminals=terminals[:TERMINALS],
        known=_known(rows),
        alerts=alerts,
        open_alerts=open_alerts,
        complete=complete,
    )


def terminal(conn: Conn, terminal_id: str) -> Terminal | None:
    """A terminal, or None where neither a decision nor an alert of it is there. Its spans are of
    whole hours, the newest one among them."""
    read = _read(conn, "terminal_id", terminal_id)
    if read is None:
        return None
    first, last, newest, rows, alerts, open_alerts, complete = read
    end = newest.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    series = traffic.terminal(
        conn, terminal_id, Step.HOUR, since=end - timedelta(days=_DAYS), until=end
    )
    return Terminal(
        terminal_id=terminal_id,
        first_seen=first,
        last_seen=last,
        spans={name: _counted(series, end - length) for name, length in SPANS.items()},
        series=series,
        known=_known(rows),
        alerts=alerts,
        open_alerts=open_alerts,
        complete=complete,
    )


_Row = tuple[datetime, str, str, int, str, bool | None]  # as _RECENT selects
_Read = tuple[datetime | None, datetime | None, datetime, list[_Row], int, int, bool]


def _read(conn: Conn, column: str, id: str) -> _Read | None:
    values: dict[str, Any] = {"id": id}
    first, last = conn.execute(_SEEN[column], values).fetchone() or (None, None)
    asked = values | {"limit": ALERTS + 1}
    alerts, open_alerts = conn.execute(_ALERTS[column], asked).fetchone() or (0, 0)
    if last is None and not alerts:
        return None
    found = queries.newest_decision(conn)
    newest = datetime.fromtimestamp(0).astimezone() if found is None else found[0]
    span = {"since": newest - timedelta(days=_DAYS), "until": newest, "limit": PAYMENTS + 1}
    rows = conn.execute(_RECENT[column], values | span).fetchall()
    complete = len(rows) <= PAYMENTS and alerts <= ALERTS
    return first, last, newest, rows[:PAYMENTS], alerts, open_alerts, complete


def _span(rows: Sequence[_Row]) -> Span:
    decisions = Counter(dict.fromkeys(("approve", "review", "decline"), 0))
    amounts: Counter[str] = Counter()
    for _, decision, currency, amount, *_ in rows:
        decisions[decision] += 1
        amounts[currency] += amount
    return Span(dict(decisions), dict(sorted(amounts.items())))


def _counted(series: Sequence[EntitySeries], since: datetime) -> Span:
    decisions = {"all": 0, "not_approved": 0}
    amounts: dict[str, int] = {}
    for one in series:
        begin = next((n for n, at in enumerate(one.buckets) if at >= since), len(one.buckets))
        decisions["all"] += sum(one.decisions[begin:])
        decisions["not_approved"] += sum(one.not_approved[begin:])
        if begin < len(one.buckets):
            amounts[one.currency] = sum(one.amount_minor[begin:])
    return Span(decisions, amounts)


def _known(rows: Sequence[_Row]) -> Known:
    labels = Counter(fraud for *_, fraud in rows)
    return Known(payments=len(rows), frauds=labels[True], genuine=labels[False])

"""Storing decisions with and without the triggers that go with it.

Why: on PostgreSQL alone every statement that stores decisions also marks the minutes whose counts
are to be made again; and every statement that raises alerts writes their events, cases and
words, which costs most where every payment is flagged. The peers are the same calls with those
triggers disabled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import LiteralString

import numpy as np

from bench import database
from bench.given import Given
from bench.report import Report, figure
from bench.rounds import in_turn, times
from tidegate.schema import Decision, Decisions
from tidegate.store import connection, decisions
from tidegate.store.connection import Conn

_ROUNDS = 31  # a call takes half a second, and the two differ by less than the rounds do
_WITH, _WITHOUT = "decisions.write", "decisions.write, trigger disabled"

_FLAGGED = "decisions.write, all flagged"
_NO_EVENTS = "decisions.write, all flagged, no events"
_NO_TRIGGERS = "decisions.write, all flagged, no events, cases and words"

EMPTY = "TRUNCATE score, alert, alert_case, alert_event, alert_text, stale_mark CASCADE"
ENABLE = "ALTER TABLE score ENABLE TRIGGER score_marks_stale"
DISABLE = "ALTER TABLE score DISABLE TRIGGER score_marks_stale"
ALL = "ALTER TABLE alert ENABLE TRIGGER USER"
NO_EVENTS = "ALTER TABLE alert ENABLE TRIGGER USER, DISABLE TRIGGER alert_created_is_logged"
NONE = "ALTER TABLE alert DISABLE TRIGGER USER"
SIZES = """
SELECT pg_total_relation_size('alert_case'), pg_total_relation_size('alert_text')
"""
MARKED = "SELECT count(*) FROM stale_mark"


def bench(given: Given) -> Report:
    """Rows a second of the call that the benchmark `write` measures, too."""
    rounds = given.rounds(_ROUNDS)
    wanted = given.part(16_384, 8_192)
    parts = given.decisions(given.size(200_000, 30_000))
    # The last with so many rows, as there.
    sums = np.cumsum([len(part) for part in reversed(parts)])
    parts = parts[-1 - int(np.searchsorted(sums, wanted)) :]
    rows = sum(map(len, parts))
    with (
        database.server() as server,
        database.fresh(server) as url,
        connection.connect(url, application_name="tidegate-bench") as conn,
    ):
        measured = {
            _WITH: _measured(conn, parts, rows, ENABLE),
            _WITHOUT: _measured(conn, parts, rows, DISABLE),
        }
        flagged = [_flagged(part) for part in parts]
        of_events = {
            _FLAGGED: _measured(conn, flagged, rows, ALL),
            _NO_EVENTS: _measured(conn, flagged, rows, NO_EVENTS),
            _NO_TRIGGERS: _measured(conn, flagged, rows, NONE),
        }
        measured[_WITHOUT]()  # warms up
        measured[_WITH]()
        (minutes,) = conn.execute(MARKED).fetchone() or (0,)
        found = in_turn(measured, rounds)
        of_events[_FLAGGED]()
        case, words = conn.execute(SIZES).fetchone() or (0, 0)
        found |= in_turn(of_events, rounds)
    ours, peer = found[_WITH], found[_WITHOUT]
    figures = [
        figure(_WITH, ours, "rows a second", times(ours, peer), _WITHOUT),
        figure(_WITHOUT, peer, "rows a second"),
        *(
            figure(
                name,
                found[name],
                "rows a second",
                times(found[name], found[_NO_TRIGGERS]),
                _NO_TRIGGERS,
            )
            for name in (_FLAGGED, _NO_EVENTS)
        ),
        figure(_NO_TRIGGERS, found[_NO_TRIGGERS], "rows a second"),
        figure("its case", [case / rows], "bytes an alert"),
        figure("its words", [words / rows], "bytes an alert"),
    ]
    notes = [f"{rows:,} rows of {len(parts)} steps in one transaction, in {minutes:,} minutes"]
    return Report("trigger", rows, rounds, figures, notes)


def _flagged(part: Decisions) -> Decisions:
    return replace(part, decision=np.full(len(part), Decision.REVIEW, dtype=np.int8))


def _measured(
    conn: Conn, parts: list[Decisions], rows: int, prepare: LiteralString
) -> Callable[[], float]:
    def once() -> float:
        conn.execute(EMPTY)
        conn.execute(prepare)
        conn.commit()
        begin = perf_counter()
        if decisions.write(conn, parts) != rows:
            raise AssertionError("not all rows were new")
        conn.commit()
        return rows / (perf_counter() - begin)

    return once

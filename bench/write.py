"""Storing decisions beside a plain COPY of the same rows.

Why: `decisions.write` may be repeated (a row that is there stands) and raises alerts, so it copies
into a temporary table and merges. The peers only append to a table with the same columns, keys and
indexes, so they fail on a repeat: two are handed rows that PostgreSQL itself wrote in COPY's binary
format, so they encode nothing, by psycopg and by psql (which has to start first); the last gives
rows to psycopg's COPY one by one.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from psycopg import sql

from bench import database
from bench.given import Given
from bench.report import Report, figure
from bench.rounds import in_turn, times
from tidegate import embedded
from tidegate.schema import Decisions
from tidegate.store import connection, decisions
from tidegate.store.connection import Conn

_ROUNDS = 5
_OURS = "decisions.write"
_READY, _BY_ROW = "plain COPY, ready-made bytes", "plain COPY, row by row"
_PSQL = "plain COPY by psql, ready-made file"

MAKE_TWIN = "CREATE TABLE twin (LIKE score INCLUDING ALL)"
EMPTY = "TRUNCATE score, alert, alert_case, alert_event, twin CASCADE"

COPY_OUT = "COPY score TO STDOUT (FORMAT binary)"
COPY_IN = "COPY twin FROM STDIN (FORMAT binary)"

READ_ROWS = "SELECT {} FROM score"
COPY_ROWS = "COPY twin FROM STDIN"


def bench(given: Given) -> Report:
    """Rows a second of one call with as many rows as the flow's writer takes at once."""
    rounds = given.rounds(_ROUNDS)
    wanted = given.part(16_384, 8_192)
    parts = _last(given.decisions(given.size(200_000, 30_000)), wanted)
    rows = sum(map(len, parts))
    with (
        database.server() as server,
        database.fresh(server) as url,
        connection.connect(url, application_name="tidegate-bench") as conn,
    ):
        conn.execute(MAKE_TWIN)
        found = in_turn(_contenders(conn, url, parts, rows, given.directory), rounds)
    figures = [
        figure(_OURS, found[_OURS], "rows a second"),
        *(
            figure(name, found[name], "rows a second", times(found[name], found[_OURS]), _OURS)
            for name in (_PSQL, _READY, _BY_ROW)
        ),
    ]
    flagged = sum(int((part.decision != 0).sum()) for part in parts)
    notes = [f"{rows:,} rows of {len(parts)} steps in one transaction, {flagged:,} with an alert"]
    return Report("write", rows, rounds, figures, notes)


def _contenders(
    conn: Conn, url: str, parts: list[Decisions], rows: int, directory: Path
) -> dict[str, Callable[[], float]]:
    def measured(work: Callable[[], None]) -> Callable[[], float]:
        def once() -> float:
            conn.execute(EMPTY)
            conn.commit()
            begin = perf_counter()
            work()
            conn.commit()
            return rows / (perf_counter() - begin)

        return once

    def ours() -> None:
        if decisions.write(conn, parts) != rows:
            raise AssertionError("not all rows were new")

    ours()
    with conn.cursor().copy(COPY_OUT) as out:
        ready = b"".join(bytes(part) for part in out)
    # Every column as psycopg takes it back: JSON as its text.
    described = conn.execute("SELECT * FROM score LIMIT 0").description or []
    fields = [
        sql.SQL("{}::text" if column.type_display == "jsonb" else "{}").format(
            sql.Identifier(column.name)
        )
        for column in described
    ]
    tuples: list[tuple[Any, ...]] = conn.execute(
        sql.SQL(READ_ROWS).format(sql.SQL(", ").join(fields))
    ).fetchall()

    def copy_bytes() -> None:
        with conn.cursor().copy(COPY_IN) as copy:
            copy.write(ready)

    file = directory / "score"
    file.write_bytes(ready)
    psql = [str(embedded.programs() / "psql"), "--quiet", "--no-psqlrc", url, "--command"]

    def copy_by_psql() -> None:
        subprocess.run([*psql, f"\\copy twin FROM '{file}' (FORMAT binary)"], check=True)

    def copy_rows() -> None:
        with conn.cursor().copy(COPY_ROWS) as copy:
            for row in tuples:
                copy.write_row(row)

    return {
        _OURS: measured(ours),
        _PSQL: measured(copy_by_psql),
        _READY: measured(copy_bytes),
        _BY_ROW: measured(copy_rows),
    }


def _last(parts: list[Decisions], rows: int) -> list[Decisions]:
    """The last parts with about so many rows: the model has learned by then, so some are
    flagged."""
    taken: list[Decisions] = []
    while parts[: len(parts) - len(taken)] and sum(map(len, taken)) < rows:
        taken.append(parts[len(parts) - 1 - len(taken)])
    return taken[::-1]

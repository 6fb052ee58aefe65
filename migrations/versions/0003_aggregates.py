"""Decisions by minute, hour and day, in all and by terminal and merchant, never counted by a scan.

The same seven names and columns everywhere. With TimescaleDB's community features they are
real-time continuous aggregates. Elsewhere they are views over tables that keep what was counted
(`decision_hour_kept`, ...), and the rest of this text is about those.

Every INSERT into `score` leaves, in its own transaction, a mark for each minute that it put rows
into (`stale_mark`). A bucket with a mark in it is counted live, by the index on `event_time`; any
other is read from what is kept. `refresh_kept` counts the marked buckets anew and deletes the
marks; `tidegate.store.aggregates.refresh` runs it as it must be run.

Why that is right at every moment, whoever writes meanwhile: marks are only ever added by writers,
never merged with those of others, so a writer's mark is seen exactly where its rows are. A refresh
is one transaction of one snapshot (REPEATABLE READ): it deletes the marks of that snapshot and
no others, and has counted all rows of that snapshot, thus the rows of every mark that it deletes.
A writer that began before and commits after it is in neither, and its mark is there once its rows
are. Refreshes take turns by a table lock that is held before the snapshot is taken; a reader's
statement sees marks, kept rows and `score` by one snapshot. Hence, for every snapshot: a bucket
without a mark is kept as it is in `score`. Marks that were shared (ON CONFLICT DO NOTHING) would
break it: the second writer of a minute would rely on a mark that a refresh deletes before the
second writer's rows can be seen.

`aggregate_floor` parts what is final: once raw rows may be deleted, buckets that begin before
`before` are not counted again, neither for late rows nor because rows are gone.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Counts of rows below an edge: one comparison a row, sums of them roll up, and the count between
# two edges is a difference. `tidegate.store.traffic` knows the same edges.
SCORE_EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 900)  # thousandths
LATENCY_EDGES = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000)  # ms

BELOW = {
    **{f"score_below_{edge}": f"score < {edge / 1000}" for edge in SCORE_EDGES},
    **{
        f"latency_below_{edge}": f"scored_at - event_time < INTERVAL '{edge} ms'"
        for edge in LATENCY_EDGES
    },
}

# What each aggregate counts of `score`, by column. numeric, as a sum of bigints may be no bigint.
DECISION = {
    "decisions": "count(*)",
    "amount_minor": "sum(amount_minor)",
    **{name: f"count(*) FILTER (WHERE {condition})" for name, condition in BELOW.items()},
}
ENTITY = {
    "decisions": "count(*)",
    "not_approved": "count(*) FILTER (WHERE decision <> 'approve')",
    "amount_minor": "sum(amount_minor)",
}

# By what, counting what, where; the steps are hierarchical, each on the one before it.
SUBJECTS: dict[str, tuple[tuple[str, ...], dict[str, str], str, tuple[str, ...]]] = {
    "decision": (("currency", "decision"), DECISION, "true", ("minute", "hour", "day")),
    "terminal": (("terminal_id", "currency"), ENTITY, "true", ("hour", "day")),
    "merchant": (("merchant_id", "currency"), ENTITY, "merchant_id IS NOT NULL", ("hour", "day")),
}

WIDTHS = {"minute": "1 minute", "hour": "1 hour", "day": "24 hours"}  # no zone's idea of a day

# Refreshing reaches back 30 days and never to where a retention may have deleted raw rows: the
# aggregate would lose them, too. A first import of older history is refreshed once, by
# `tidegate.store.aggregates.refresh`. The newest bucket stays out: it is counted as it is read.
POLICIES = {
    "minute": ("1 minute", "1 minute"),
    "hour": ("1 hour", "10 minutes"),
    "day": ("1 day", "1 hour"),
}  # end_offset and schedule_interval

FLOOR = (
    """
    CREATE TABLE aggregate_floor (
        "only" boolean PRIMARY KEY DEFAULT true CHECK ("only"),
        before timestamptz NOT NULL
    )
    """,
    "INSERT INTO aggregate_floor (before) VALUES ('-infinity')",
)

MARKS = (
    # The key is never looked up by id: it keeps the marks of different writers apart.
    """
    CREATE TABLE stale_mark (
        minute timestamptz NOT NULL,
        id bigint GENERATED ALWAYS AS IDENTITY,
        PRIMARY KEY (minute, id)
    )
    """,
    *(
        f"""
        CREATE VIEW stale_{step} AS
        SELECT DISTINCT date_bin('{width}', minute, '2000-01-01 00:00+00') AS bucket
        FROM stale_mark WHERE minute >= (SELECT before FROM aggregate_floor)
        """
        for step, width in WIDTHS.items()
    ),
    """
    CREATE FUNCTION mark_stale() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO stale_mark (minute)
        SELECT DISTINCT date_bin('1 minute', event_time, '2000-01-01 00:00+00') FROM added;
        RETURN NULL;
    END
    $$
    """,
    # Waits for those who write, and keeps others from it until this transaction ends: each row is
    # either there for the marks below or marked by the trigger.
    """
    CREATE TRIGGER score_marks_stale AFTER INSERT ON score
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION mark_stale()
    """,
    # From one minute that has rows to the next, by the index.
    """
    INSERT INTO stale_mark (minute)
    WITH RECURSIVE found (minute) AS (
        SELECT date_bin('1 minute', min(event_time), '2000-01-01 00:00+00') FROM score
        UNION ALL
        SELECT (
            SELECT date_bin('1 minute', min(event_time), '2000-01-01 00:00+00')
            FROM score WHERE event_time >= found.minute + INTERVAL '1 minute'
        ) FROM found WHERE found.minute IS NOT NULL
    )
    SELECT minute FROM found WHERE minute IS NOT NULL
    """,
)


def upgrade() -> None:
    """Makes continuous aggregates where they can be had, else views of the same names."""
    made = _continuous_aggregates() if _continuous() else [*MARKS, *_views(), _refresh()]
    for statement in (*FLOOR, *made):
        op.execute(statement)


def downgrade() -> None:
    """Drops them. What only they still know, as raw rows are gone, is lost."""
    plain = op.get_bind().execute(text("SELECT to_regclass('stale_mark') IS NOT NULL")).scalar()
    names = [f"{subject}_{step}" for subject, (*_, steps) in SUBJECTS.items() for step in steps]
    if plain:
        drop = ["FUNCTION refresh_kept()", "TRIGGER score_marks_stale ON score"]
        drop += ["FUNCTION mark_stale()", *(f"VIEW {name}" for name in reversed(names))]
        drop += [f"TABLE {name}_kept" for name in names]
        drop += [*(f"VIEW stale_{step}" for step in WIDTHS), "TABLE stale_mark"]
    else:
        drop = [f"MATERIALIZED VIEW {name}" for name in reversed(names)]
    for one in drop:
        op.execute(f"DROP {one}")
    op.execute("DROP TABLE aggregate_floor")


def _continuous() -> bool:
    """Whether TimescaleDB is in the database, with its community features."""
    found = op.get_bind().execute(
        text(
            "SELECT current_setting('timescaledb.license', true) = 'timescale'"
            " FROM pg_extension WHERE extname = 'timescaledb'"
        )
    )
    return bool(found.scalar())


def _counts(counted: dict[str, str], source: str) -> str:
    """The counts as a select list: of raw rows, or sums of what a shorter step counted."""
    if source == "score":
        return ", ".join(f"{expression} AS {name}" for name, expression in counted.items())
    return ", ".join(
        f"sum({name})::{'numeric' if name == 'amount_minor' else 'bigint'} AS {name}"
        for name in counted
    )


def _continuous_aggregates() -> list[str]:
    made = []
    for subject, (by, counted, condition, steps) in SUBJECTS.items():
        source, time = "score", "event_time"
        for step in steps:
            name = f"{subject}_{step}"
            made.append(
                f"""
                CREATE MATERIALIZED VIEW {name}
                WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
                SELECT time_bucket(INTERVAL '{WIDTHS[step]}', {time}) AS bucket, {", ".join(by)},
                       {_counts(counted, source)}
                FROM {source}
                WHERE {condition}
                GROUP BY 1, {", ".join(by)}
                WITH NO DATA
                """
            )
            end, every = POLICIES[step]
            made.append(
                f"""
                SELECT add_continuous_aggregate_policy('{name}',
                    start_offset => INTERVAL '30 days', end_offset => INTERVAL '{end}',
                    schedule_interval => INTERVAL '{every}')
                """
            )
            source, time, condition = name, "bucket", "true"
    return made


def _stale(subject: str, step: str, source: str) -> str:
    """The query that counts the stale buckets, one after the other, from the source."""
    by, counted, condition, _ = SUBJECTS[subject]
    time = "event_time" if source == "score" else "bucket"
    return f"""
        SELECT stale.bucket, {", ".join(f"counted.{name}" for name in (*by, *counted))}
        FROM stale_{step} AS stale CROSS JOIN LATERAL (
            SELECT {", ".join(by)}, {_counts(counted, source)}
            FROM {source}
            WHERE {condition}
            AND {time} >= stale.bucket AND {time} < stale.bucket + INTERVAL '{WIDTHS[step]}'
            GROUP BY {", ".join(by)}
        ) AS counted
    """


def _views() -> list[str]:
    made = []
    for subject, (by, counted, _, steps) in SUBJECTS.items():
        source = "score"
        for step in steps:
            name = f"{subject}_{step}"
            types = [f'{column} text COLLATE "C" NOT NULL' for column in by]
            types += [
                f"{column} {'numeric' if column == 'amount_minor' else 'bigint'} NOT NULL"
                for column in counted
            ]
            # A terminal's series is read by the terminal, everything else by time.
            first = "bucket" if subject == "decision" else f"{by[0]}, bucket"
            rest = ", ".join(by if subject == "decision" else by[1:])
            made.append(
                f"CREATE TABLE {name}_kept (bucket timestamptz NOT NULL, {', '.join(types)},"
                f" PRIMARY KEY ({first}, {rest}))"
            )
            if subject != "decision":
                made.append(f"CREATE INDEX {name}_kept_bucket ON {name}_kept (bucket)")
            columns = ", ".join(("bucket", *by, *counted))
            made.append(
                f"""
                CREATE VIEW {name} AS
                SELECT {columns} FROM {name}_kept AS kept
                WHERE NOT EXISTS (
                    SELECT FROM stale_{step} AS stale WHERE stale.bucket = kept.bucket
                )
                UNION ALL
                {_stale(subject, step, source)}
                """
            )
            source = name
    return made


def _refresh() -> str:
    done = []
    for subject, (by, counted, _, steps) in SUBJECTS.items():
        source = "score"
        for step in steps:
            kept = f"{subject}_{step}_kept"
            columns = ", ".join(("bucket", *by, *counted))
            done.append(
                f"""
                DELETE FROM {kept} WHERE bucket IN (SELECT bucket FROM stale_{step});
                INSERT INTO {kept} ({columns}) {_stale(subject, step, source)};
                """
            )
            source = kept
    return f"""
        CREATE FUNCTION refresh_kept() RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            IF current_setting('transaction_isolation') <> 'repeatable read' THEN
                RAISE EXCEPTION 'refresh_kept needs REPEATABLE READ: marks set meanwhile were lost'
                    USING ERRCODE = 'invalid_transaction_state';
            END IF;
            {"".join(done)}
            DELETE FROM stale_mark;
        END
        $$
    """

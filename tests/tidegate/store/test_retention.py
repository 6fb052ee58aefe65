"""What is past its retention goes where no policy takes it, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import psycopg
import pytest

from tests.tidegate.store.conftest import MakeDecisions
from tidegate.schema import DAY, Decision, ModelVersion, to_datetime
from tidegate.settings import Retention
from tidegate.store import aggregates, decisions, models, policies, retention
from tidegate.store.connection import Conn, connect
from tidegate.store.policies import Kind
from tidegate.store.retention import Removed

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MICROS = round(NOW.timestamp()) * 1_000_000


@pytest.fixture
def plain(database: str) -> Iterator[Conn]:
    with connect(database, application_name="tidegate-test") as conn:
        conn.autocommit = True
        if policies.kind(conn)[0] != Kind.PLAIN:
            pytest.skip("the given server has TimescaleDB")
        yield conn


def write(conn: Conn, decided: MakeDecisions, name: str, rows: int, days_old: float) -> None:
    ids = [f"{name}-{row:03}" for row in range(rows)]
    start = MICROS - round(days_old * DAY)
    with conn.transaction():
        decisions.write(conn, [decided(ids, start=start, decisions=[Decision.REVIEW] * rows)])


def names(conn: Conn, table: str = "score") -> set[str]:
    rows = conn.execute(f"SELECT split_part(transaction_id, '-', 1) FROM {table}")
    return {name for (name,) in rows}


def test_old_decisions_go_in_batches_and_their_alerts_stay(
    plain: Conn, decided: MakeDecisions
) -> None:
    write(plain, decided, "old", 25, 31)
    write(plain, decided, "older", 20, 900)
    write(plain, decided, "young", 10, 29)
    removed = list(retention.enforce(plain, Retention(score_days=30), NOW, batch=10))
    assert removed == [Removed("score", rows=10)] * 4 + [Removed("score", rows=5)]
    assert names(plain) == {"young"}
    assert names(plain, "alert") == {"old", "older", "young"}
    assert list(retention.enforce(plain, Retention(score_days=30), NOW)) == []


def test_a_round_may_be_stopped_after_any_batch_and_the_next_one_goes_on(
    plain: Conn, decided: MakeDecisions
) -> None:
    write(plain, decided, "old", 25, 31)
    assert len(list(islice(retention.enforce(plain, Retention(30), NOW, batch=10), 1))) == 1
    assert plain.execute("SELECT count(*), min(transaction_id) FROM score").fetchone() == (
        15,
        "old-010",
    )
    assert sum(step.rows for step in retention.enforce(plain, Retention(30), NOW, batch=10)) == 15


def test_more_rows_of_one_moment_than_a_batch_holds_go_too(plain: Conn) -> None:
    plain.execute(
        "INSERT INTO model_metric SELECT 'm', 'x' || n, %s, 0.5, 1 FROM generate_series(1, 25) n",
        (NOW - timedelta(days=500),),
    )
    removed = list(retention.enforce(plain, Retention(), NOW, batch=10))
    assert [step.rows for step in removed] == [10, 10, 5]


def test_a_row_later_than_its_retention_is_written_and_goes_at_the_next_round(
    plain: Conn, decided: MakeDecisions
) -> None:
    assert list(retention.enforce(plain, Retention(30), NOW)) == []
    write(plain, decided, "late", 3, 700)
    assert names(plain) == {"late"}
    assert list(retention.enforce(plain, Retention(30), NOW)) == [Removed("score", rows=3)]


def test_each_table_has_its_own_days_and_zero_keeps_for_ever(
    plain: Conn, decided: MakeDecisions
) -> None:
    write(plain, decided, "old", 5, 5000)
    for n, days in enumerate((5000, 89)):
        plain.execute(
            'INSERT INTO dead_letter (topic, partition, "offset", at, reason, detail, payload)'
            " VALUES ('t', 0, %s, %s, 'malformed', '', '')",
            (n, NOW - timedelta(days=days)),
        )
    assert list(retention.enforce(plain, Retention(0, 0, 0, 0, 0), NOW)) == []
    assert list(retention.enforce(plain, Retention(score_days=0), NOW)) == [
        Removed("dead_letter", rows=1)
    ]
    assert names(plain) == {"old"}


def version(conn: Conn, name: str, day: float, of: str = "champion") -> None:
    models.write_version(conn, ModelVersion(name, of, round(day * DAY), b"", 1, 0))


def test_a_version_goes_when_no_decision_that_is_kept_can_name_it(conn: Conn) -> None:
    conn.commit()
    conn.autocommit = True
    today = MICROS / DAY
    for name, age in (("older", 50), ("old", 40), ("used", 39), ("young", 20), ("last", 1)):
        version(conn, name, today - age)
    version(conn, "lonely", today - 90, of="challenger")  # the newest of its model
    conn.execute(
        "INSERT INTO model_version SELECT 'unknown', name, stream_time, content, 1, 0"
        " FROM model_version WHERE version = 'old'"
    )
    models.use_versions(conn, {"used": round((today - 29) * DAY), "nobody": 0})
    removed = list(retention.enforce(conn, Retention(30), NOW))
    assert removed == [Removed("model_version", rows=2)]
    left = conn.execute("SELECT version FROM model_version ORDER BY stream_time").fetchall()
    assert [name for (name,) in left] == ["lonely", "unknown", "used", "young", "last"]
    assert list(retention.enforce(conn, Retention(0), NOW)) == []


def test_a_versions_use_never_goes_back(conn: Conn) -> None:
    version(conn, "v1", 100)
    for day, until in ((50, 102), (200, 200), (150, 200)):
        models.use_versions(conn, {"v1": day * DAY})
        (found,) = conn.execute("SELECT used_until FROM model_version").fetchone() or (None,)
        assert found == to_datetime(until * DAY)


def test_counts_by_hour_go_in_whole_days_and_those_by_day_stay(
    plain: Conn, decided: MakeDecisions
) -> None:
    noon = NOW + timedelta(hours=12)
    write(plain, decided, "old", 5, 45)
    write(plain, decided, "same day", 5, 29.8)
    write(plain, decided, "young", 5, 2)
    aggregates.refresh(plain, final_before=noon - timedelta(30))
    kept = Retention(0, count_days=30)
    tables = {step.table for step in retention.enforce(plain, kept, noon)}
    assert tables == {"decision_minute_kept", "decision_hour_kept", "terminal_hour_kept"}
    assert decisions_of(plain, "decision_hour") == decisions_of(plain, "decision_minute") == 10
    assert decisions_of(plain, "decision_day") == 15
    # Late ones are counted as long as their day is whole, and nothing that is counted is lost.
    write(plain, decided, "late", 7, 29.4)
    write(plain, decided, "too late", 7, 44)
    for _ in range(2):
        assert decisions_of(plain, "decision_day") == 22
        aggregates.refresh(plain, final_before=noon - timedelta(30))
    assert names(plain) == {"old", "same day", "young", "late", "too late"}


def decisions_of(conn: Conn, name: str) -> int:
    (found,) = conn.execute(f"SELECT sum(decisions)::bigint FROM {name}").fetchone() or (0,)
    return int(found)


def test_the_audit_goes_by_its_age_alone(plain: Conn) -> None:
    for days in (5000, 31, 29):
        plain.execute(
            "INSERT INTO audit (at, actor, action, subject) VALUES (%s, 'a', 'b', 'c')",
            (NOW - timedelta(days=days),),
        )
    assert list(retention.enforce(plain, Retention(audit_days=0), NOW)) == []
    removed = list(retention.enforce(plain, Retention(audit_days=30), NOW))
    assert removed == [Removed("audit", rows=2)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        plain.execute("DELETE FROM audit")
    assert plain.execute("SELECT count(*) FROM audit").fetchone() == (1,)


AUDITED = "INSERT INTO audit (at, actor, action, subject) VALUES (%s, 'a', 'b', 'c')"


@pytest.mark.parametrize(
    "statement", ["DELETE FROM audit", "UPDATE audit SET actor = 'x'", "TRUNCATE audit"]
)
def test_what_is_newer_than_thirty_days_no_transaction_may_delete(
    plain: Conn, statement: str
) -> None:
    plain.execute(AUDITED, (datetime.now(UTC) - timedelta(days=29),))
    with plain.transaction():
        plain.execute(retention.AGED)
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
            plain.transaction(),
        ):
            plain.execute(statement)
    assert plain.execute("SELECT count(*) FROM audit").fetchone() == (1,)


def test_a_batch_of_decisions_is_found_by_the_index_on_time(
    plain: Conn, decided: MakeDecisions
) -> None:
    write(plain, decided, "old", 25, 31)
    plain.execute("SET enable_seqscan = off")
    query = retention.DELETE.format(table="score", time="event_time")
    values = {"after": "-infinity", "before": NOW, "batch": 10}
    plan = "\n".join(line for (line,) in plain.execute("EXPLAIN " + query, values))
    assert "Index Scan using score_event_time" in plan
    assert "Sort" not in plan

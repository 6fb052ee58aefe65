"""Published model versions and what was measured of them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

from tidegate.schema import Metric, ModelVersion
from tidegate.store.connection import Conn, Micros, MicrosLoader

WRITE_VERSION = """
INSERT INTO model_version (version, name, stream_time, content, examples, frauds, used_until)
VALUES (
    %(version)s, %(name)s, %(stream_time)s, %(content)s, %(examples)s, %(frauds)s,
    %(stream_time)s::timestamptz + INTERVAL '2 days'
)
ON CONFLICT DO NOTHING
"""

# In order, so that two who write do not wait for each other in a circle.
USE_VERSIONS = """
WITH used AS MATERIALIZED (
    SELECT v.version, given.until
    FROM unnest(%(versions)s::text[], %(until)b::timestamptz[]) AS given (version, until)
    JOIN model_version AS v USING (version)
    WHERE v.used_until IS NULL OR v.used_until < given.until
    ORDER BY v.version FOR NO KEY UPDATE OF v
)
UPDATE model_version AS v SET used_until = used.until FROM used WHERE v.version = used.version
"""

READ_VERSION = """
SELECT name, stream_time, content, examples, frauds FROM model_version WHERE version = %(version)s
"""

WRITE_POLICY = """
INSERT INTO policy_version (version, content) VALUES (%(version)s, %(content)s)
ON CONFLICT DO NOTHING
"""

READ_POLICY = "SELECT content FROM policy_version WHERE version = %(version)s"

WRITE_METRICS = """
INSERT INTO model_metric (name, metric, at, value, examples)
SELECT *
FROM unnest(
    %(name)s::text[], %(metric)s::text[], %(at)b::timestamptz[], %(value)s::float8[],
    %(examples)s::bigint[]
)
ON CONFLICT DO NOTHING
"""


def write_version(conn: Conn, version: ModelVersion) -> None:
    """Writes the version unless it is there; its content is compressed, not changed."""
    conn.execute(
        WRITE_VERSION,
        {
            "version": version.version,
            "name": version.name,
            "stream_time": Micros(version.stream_time),
            # The fastest level: it is done once a minute, in the way of decisions.
            "content": zlib.compress(version.content, level=1),
            "examples": version.examples,
            "frauds": version.frauds,
        },
    )


def use_versions(conn: Conn, until: Mapping[str, int]) -> None:
    """Notes until when (event time, microseconds since the epoch) decisions name these versions.
    Versions that are not there are passed over, and a later time that is there stays."""
    if until:
        times = [Micros(at) for at in until.values()]
        conn.execute(USE_VERSIONS, {"versions": list(until), "until": times})


def read_version(conn: Conn, version: str) -> ModelVersion | None:
    """The version of that id with its content; None where it was never written."""
    with conn.cursor(binary=True) as cur:
        cur.adapters.register_loader("timestamptz", MicrosLoader)
        row = cur.execute(READ_VERSION, {"version": version}).fetchone()
    if row is None:
        return None
    name, stream_time, content, examples, frauds = row
    return ModelVersion(
        version=version,
        name=name,
        stream_time=stream_time,
        content=zlib.decompress(content),
        examples=examples,
        frauds=frauds,
    )


def write_policy(conn: Conn, version: str, content: str) -> None:
    """Writes what a policy does unless it is there."""
    conn.execute(WRITE_POLICY, {"version": version, "content": content})


def read_policy(conn: Conn, version: str) -> str | None:
    """What the policy of that version does; None where it was never written."""
    row = conn.execute(READ_POLICY, {"version": version}).fetchone()
    return None if row is None else str(row[0])


def write_metrics(conn: Conn, metrics: Sequence[Metric]) -> None:
    """Writes the measured values. One that is there already (same model, metric and time) stays."""
    if not metrics:
        return
    conn.execute(
        WRITE_METRICS,
        {
            "name": [metric.name for metric in metrics],
            "metric": [metric.metric for metric in metrics],
            "at": [Micros(metric.at) for metric in metrics],
            "value": [float(metric.value) for metric in metrics],
            "examples": [metric.examples for metric in metrics],
        },
    )

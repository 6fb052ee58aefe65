"""Starts that must be refused, and clocks that are wrong."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.dataflows.streams import query
from tests.faults.cluster import Cluster
from tests.faults.kafka_place import Record, a_place
from tests.faults.messages import fresh
from tests.faults.scales import SMALL, seeded
from tests.kafka.broker import Broker
from tidegate.schema import HOUR
from tidegate.settings import Topics

MATURITY = {"TIDEGATE_MATURITY_DAYS": "0.5"}


def test_a_second_cluster_is_refused_and_the_first_goes_on_undisturbed(
    database: str, broker: Broker, topics: Topics, tmp_path: Path, record_property: Record
) -> None:
    traffic = SMALL.traffic(seeded(), repeats=False)
    with a_place(database, broker, topics, tmp_path / "first", traffic, **MATURITY) as place:
        place.cluster.start(2)
        place.cluster.wait_ready()
        half = len(traffic.messages) // 2
        place.sender.start(traffic.messages[:half], 150)  # some ten seconds of load
        place.wait_decided(1)
        (tmp_path / "second").mkdir()
        second = Cluster(database, broker.address, topics, tmp_path / "second", **MATURITY)
        try:
            second.start(1)
            assert second.ended() == 1
        finally:
            second.kill_everything()
        last = second.said().strip().splitlines()[-1]
        assert last.startswith("tidegate: another cluster (generation 1, started 20")
        assert last.endswith(" is running on this database: stop it first")
        place.sender.finish()
        place.sender.start(traffic.messages[half:], 1_000)
        place.recovered()
        place.finish(record_property, "a second cluster by mistake", 1, once=True)
        assert place.generation() == 1
        assert "start again" not in place.cluster.said()


def test_a_database_that_is_older_than_the_recovery_store_is_refused(
    database: str,
    postgres: str,
    broker: Broker,
    topics: Topics,
    tmp_path: Path,
    record_property: Record,
) -> None:
    traffic = SMALL.traffic(seeded())
    own = str(conninfo_to_dict(database)["dbname"])
    older, newer = f"{own}_older", f"{own}_newer"
    with a_place(database, broker, topics, tmp_path, traffic, **MATURITY) as place:
        place.sender.start(traffic.messages, 1_000)
        place.cluster.start(1)
        place.wait_decided(300)
        place.cluster.stop()
        run(postgres, "CREATE DATABASE {} TEMPLATE {}", older, own)
        place.cluster.start(1)
        place.wait_decided(1_500)
        place.cluster.stop()
        place.witness.look()
        try:
            run(postgres, "ALTER DATABASE {} RENAME TO {}", own, newer)
            run(postgres, "ALTER DATABASE {} RENAME TO {}", older, own)
            held = query(database, "SELECT count(*) FROM score")
            place.cluster.start(1)
            assert place.cluster.ended() == 1
            last = place.cluster.said().strip().splitlines()[-1]
            assert last.startswith("tidegate: the recovery store has seen ")
            assert "restore a newer backup of the database" in last
            assert query(database, "SELECT count(*) FROM score") == held
            run(postgres, "ALTER DATABASE {} RENAME TO {}", own, older)
            run(postgres, "ALTER DATABASE {} RENAME TO {}", newer, own)
        finally:
            for name in (older, newer):
                run(postgres, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        place.cluster.start(2)
        place.finish(record_property, "an older database, then the right one", 1)


def test_clocks_of_others_that_are_an_hour_off_do_not_move_the_stream(
    database: str, broker: Broker, topics: Topics, tmp_path: Path, record_property: Record
) -> None:
    traffic = fresh(1_000, seeded().randrange(2**32), off_by=(0, HOUR, -HOUR))
    with a_place(database, broker, topics, tmp_path, traffic) as place:
        place.cluster.start(2)
        place.cluster.wait_ready()
        place.sender.start(traffic.messages, 400)
        place.finish(record_property, "payments and labels dated an hour ahead or back", 1)
    ahead = query(database, "SELECT transaction_id FROM score WHERE stream_time > scored_at")
    assert not ahead, "somebody's clock moved the stream beyond our own time"


def run(server: str, statement: str, *names: str) -> None:
    """A statement over whole databases."""
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

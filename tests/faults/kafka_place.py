"""A run from Kafka under load, and what is done to it: traffic in, faults, verdict."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.dataflows.streams import query
from tests.faults.cluster import Cluster
from tests.faults.messages import Traffic
from tests.faults.sender import Sender
from tests.faults.verdict import Verdict, Witness, judge
from tests.kafka.broker import Broker
from tidegate.settings import Topics

PATIENCE = 90.0  # seconds for anything to happen on a busy machine

STORED = """
SELECT (SELECT count(DISTINCT transaction_id) FROM score), (SELECT count(*) FROM dead_letter),
       (SELECT count(*) FROM label)
"""

WORKING = "SELECT cardinality(sessions) + 1 FROM crew_order WHERE stop = 0 AND generation > %s"

Record = Callable[[str, object], None]  # pytest's record_property


@dataclass(kw_only=True)
class Watched(ABC):
    """A database, a broker with topics, and the traffic of a run on them, whatever runs it."""

    database: str
    broker: Broker
    topics: Topics
    traffic: Traffic
    sender: Sender = field(init=False)
    witness: Witness = field(init=False)
    seconds: list[float] = field(default_factory=list)  # that each fault took to recover from

    def __post_init__(self) -> None:
        self.sender = Sender(self.broker.address, self.topics)
        self.witness = Witness(self.database)

    @abstractmethod
    def said(self) -> str:
        """The last of what the run said, for a test that fails."""

    @abstractmethod
    def stop(self) -> None:
        """Ends the run in order."""

    def decided(self) -> int:
        """How many decisions are stored."""
        return int(query(self.database, "SELECT count(*) FROM score")[0][0])

    def wait_decided(self, rows: int, seconds: float = PATIENCE) -> None:
        """Waits until so many are stored."""
        self._wait(lambda: self.decided() >= rows, f"{rows} decisions", seconds)

    def wait_all(self, seconds: float = PATIENCE) -> None:
        """Waits until all that was sent is stored. Says nothing of what is stored twice."""
        self.sender.finish(seconds)
        wanted = (len(self.traffic.payments), self.traffic.bad, len(self.traffic.labels))

        found: tuple[int, ...] = ()

        def stored() -> bool:
            nonlocal found
            (found,) = query(self.database, STORED)
            return all(has >= wants for has, wants in zip(found, wanted, strict=True))

        try:
            self._wait(stored, f"{wanted} decisions, dead letters and labels", seconds)
        except AssertionError as error:
            error.add_note(f"there were {found}")
            raise

    def generation(self) -> int:
        """How many clusters have started so far."""
        (found,) = query(self.database, "SELECT coalesce(max(generation), 0) FROM cluster")
        return int(found[0])

    def working(self, after: int) -> int:
        """How many workers a later generation of several machines has; 0 where there is none."""
        found = query(self.database, WORKING, [after])
        return int(found[0][0]) if found else 0

    def recovered(self, after: int | None = None) -> None:
        """Waits for the first new decision now that a fault has ended, and notes how long that
        takes. after: the generation that died, so that it is one of its successor."""
        began = time.monotonic()
        if after is None:
            before = self._patiently(self.decided)
            self._wait(lambda: self.decided() > before or self._over(), "a new decision")
        else:
            statement = """SELECT FROM cluster WHERE generation > %s AND EXISTS (
                SELECT FROM score WHERE scored_at > started_at)"""
            self._wait(
                lambda: bool(query(self.database, statement, [after])) or self._over(),
                "a new decision",
            )
        self.seconds.append(time.monotonic() - began)
        self.witness.look()

    def _over(self) -> bool:
        """Whether all is decided, and nothing new can come."""
        return self.decided() >= len(self.traffic.payments)

    def judge(self, *, once: bool = False) -> Verdict:
        """Everything that must hold, now that the run was stopped."""
        return judge(
            self.database,
            self.broker.address,
            self.topics,
            self.traffic,
            self.sender.bad,
            self.witness,
            once=once,
        )

    def finish(self, record: Record, fault: str, times: int, *, once: bool = False) -> None:
        """Waits until all is decided, stops the run, and judges it; the table gets a line."""
        self.wait_all()
        self.stop()
        verdict = self.judge(once=once)
        line = {
            "fault": fault,
            "times": times,
            "lost": verdict.lost,
            "doubled": verdict.doubled,
            "changed": verdict.changed,
            "seconds": [round(seconds, 1) for seconds in self.seconds],
        }
        record("fault", json.dumps(line))
        verdict.require()

    def _wait(self, there: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with suppress(psycopg.OperationalError):  # the database may be the one that is away
                if there():
                    return
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"no {what} after {seconds:g} s, {self.sender.delivered} of "
                    f"{len(self.traffic)} messages sent: {self.said()}"
                )
            time.sleep(0.02)

    def _patiently(self, ask: Callable[[], int]) -> int:
        found: list[int] = []

        def asked() -> bool:
            found.append(ask())
            return True

        self._wait(asked, "answer of the database")
        return found[0]


@dataclass(kw_only=True)
class KafkaPlace(Watched):
    """With a cluster of processes on this machine, or on several."""

    cluster: Cluster

    def said(self) -> str:
        return self.cluster.said()[-5000:]

    def stop(self) -> None:
        self.cluster.stop()


@contextmanager
def a_place(
    database: str, broker: Broker, topics: Topics, data: Path, traffic: Traffic, **env: str
) -> Iterator[KafkaPlace]:
    """Everything but started; nothing of it runs on afterwards."""
    data.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(database, broker.address, topics, data, **env)
    place = KafkaPlace(
        database=database, broker=broker, topics=topics, traffic=traffic, cluster=cluster
    )
    try:
        yield place
    finally:
        place.sender.close()
        cluster.kill_everything()


def lag(broker: Broker, topics: Topics) -> dict[tuple[str, int], int]:
    """What Kafka's own tool says of the group, by partition of the two topics that are read."""
    told = broker.tool("kafka-consumer-groups", "--describe", "--group", "tidegate")
    found = {}
    for line in told.splitlines():
        columns = line.split()
        if len(columns) > 5 and columns[1] in (topics.transactions, topics.labels):
            found[columns[1], int(columns[2])] = int(columns[5])
    return found

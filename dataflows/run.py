"""What a run is told, as plain values."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from dataflows.scoring import FROM_FILES, LIVE, Plan
from models.policy import Policy
from models.roster import challengers
from tidegate import __version__
from tidegate.settings import Kafka, Topics


@dataclass(frozen=True)
class Run:
    """Everything a run is told; plain values, as worker processes get it as JSON.

    transactions: the files it reads. Without any it is live: it reads the inbox, and kafka, which
    it publishes to as well, where that is given. currency: of files that name none.
    snapshot_seconds: between snapshots. pace: transactions a second to hold files back to, 0 for as
    fast as it goes. promote: by how much average precision and over how many frauds a challenger
    must have done better to be promoted by the flow itself; None: never.
    """

    database_url: str
    recovery_dir: str
    transactions: tuple[str, ...] = ()
    labels: str | None = None
    currency: str | None = None
    shards: int = 4
    workers: int = 1
    snapshot_seconds: float = 10.0
    maturity_days: float = 7.0
    review: float = 0.3
    decline: float = 0.9
    control: int = 20
    challengers: tuple[str, ...] = ()
    promote: tuple[float, int] | None = None
    pace: float = 0.0
    metrics_port: int = 0
    metrics_host: str = "127.0.0.1"
    kafka: dict[str, Any] | None = field(default=None, repr=False)  # `Kafka`; may hold passwords

    @property
    def brokers(self) -> Kafka | None:
        """The way to Kafka, None where there is none."""
        if self.kafka is None:
            return None
        topics = Topics(**self.kafka["topics"])
        return Kafka(**{**self.kafka, "brokers": tuple(self.kafka["brokers"]), "topics": topics})

    @property
    def fixed(self) -> dict[str, Any]:
        """What cannot change in the life of a recovery store."""
        fixed: dict[str, Any] = {"shards": self.shards, "maturity_days": self.maturity_days}
        if not self.live:
            return {"input": "files", **fixed}
        return {"input": "inbox" if self.kafka is None else "kafka", "slots": self.slots, **fixed}

    @property
    def shared(self) -> dict[str, Any]:
        """What all workers of a cluster must be told alike, as JSON has it; nothing secret."""
        kafka = None
        if self.kafka is not None:
            kafka = {"topics": self.kafka["topics"], "slots": self.kafka["slots"]}
        own = {"database_url", "recovery_dir", "workers", "metrics_port", "metrics_host"}
        told = {name: value for name, value in asdict(self).items() if name not in own}
        shared: dict[str, Any] = json.loads(
            json.dumps(told | {"kafka": kafka, "version": __version__})
        )
        return shared

    @property
    def live(self) -> bool:
        """Whether it goes on until it is stopped."""
        return not self.transactions

    @property
    def slots(self) -> int:
        """That a live run's source has."""
        return 1 if self.kafka is None else int(self.kafka["slots"])

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps with state."""
        return LIVE if self.live else FROM_FILES

    @property
    def plan(self) -> Plan:
        """What the graph is built with."""
        policy = Policy(self.review, self.decline, self.control)
        others = challengers(self.challengers)
        return Plan(self.shards, policy, self.maturity_days, challengers=others)

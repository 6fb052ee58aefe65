"""A run from Kafka as a user starts it: a real broker, a database of its own, and the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from bench import database
from dataflows.supervisor import RunFailed
from tests.kafka.broker import Broker
from tidegate.settings import Topics

PATIENCE = 120.0  # seconds for a command to start or to end
PARTITIONS = 4
TIDEGATE = Path(sys.executable).with_name("tidegate")
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Service:
    """A running command. worker: the process that does the work."""

    database: str
    topics: Topics
    env: dict[str, str] = field(repr=False)
    process: subprocess.Popen[bytes]
    log: Path

    def wait(self, there: Callable[[], bool], what: str) -> None:
        """Returns when it is so. Raises RunFailed when that takes too long or it has ended, with
        what it said last."""
        deadline = time.monotonic() + PATIENCE
        while not there():
            over = self.process.poll() is not None
            if over or time.monotonic() > deadline:
                why = "it ended" if over else f"no {what} after {PATIENCE:g} s"
                raise RunFailed(f"{why}: {self.said()}")
            time.sleep(0.02)

    def said(self) -> str:
        """The last of what it said."""
        return self.log.read_text(errors="replace")[-2000:]

    def cpu(self) -> float:
        """CPU seconds that its worker has taken so far. Raises RunFailed when it has ended."""
        if self.process.poll() is not None:
            raise RunFailed("it ended")
        return sum(map(cpu_seconds, _workers(self.process.pid)))


@contextmanager
def service(
    server: str,
    broker: Broker,
    topics: Topics,
    command: Sequence[str] = ("run",),
    settings: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """`tidegate run`, or another command, with an empty database and recovery store, these settings
    and otherwise the default ones."""
    with (
        database.fresh(server) as url,
        tempfile.TemporaryDirectory(prefix="tidegate-bench-") as directory,
    ):
        env = environment()
        env |= {f"TIDEGATE_TOPIC_{name.upper()}": topic for name, topic in asdict(topics).items()}
        env |= {
            "TIDEGATE_DATABASE_URL": url,
            "TIDEGATE_KAFKA_BROKERS": broker.address,
            "TIDEGATE_DATA_DIR": directory,
            "TIDEGATE_LOG_FORMAT": "text",
            **(settings or {}),
        }
        log = Path(directory) / "log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [TIDEGATE, *command], env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
        try:
            yield Service(url, topics, env, process, log)
        finally:
            end(process)


@contextmanager
def topics(broker: Broker) -> Iterator[Topics]:
    """Five empty topics, gone at the end."""
    mark = uuid4().hex[:12]
    made = Topics(*(f"{name}-{mark}" for name in astuple(Topics())))
    broker.create_topics(astuple(made), PARTITIONS)
    try:
        yield made
    finally:
        broker.delete_topics(*astuple(made))


def producer(broker: Broker) -> Producer:
    """A payment system's: nothing is lost, and nothing waits for company."""
    told = {"bootstrap.servers": broker.address, "enable.idempotence": True, "linger.ms": 0}
    return Producer({**told, "queue.buffering.max.messages": 1_000_000, "log_level": 0})


def at_the_end(broker: Broker, topic: str) -> Consumer:
    """A consumer of all partitions of a topic that gives what comes from now on."""
    consumer = _consumer(broker)
    consumer.assign(
        [TopicPartition(topic, number, high) for number, high in _highs(consumer, topic)]
    )
    return consumer


class Ends:
    """How many messages a topic holds, asked again and again."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._consumer, self._topic = _consumer(broker), topic

    def messages(self) -> int:
        """So many, of all partitions together."""
        return sum(high for _, high in _highs(self._consumer, self._topic))

    def close(self) -> None:
        """Ends the client."""
        self._consumer.close()


def id_of(message: Message) -> str | None:
    """The payment's id, which comes first in payments and decisions."""
    value = message.value()
    return None if message.error() or value is None else value.split(b'"', 4)[3].decode()


def environment() -> dict[str, str]:
    """Our own without any setting: a command has those that it is given, and the default ones."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE")}


def resident(pid: int) -> int:
    """Kibibytes of memory that a process holds; proc(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kibibytes,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(kibibytes)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, in user and system mode; proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def end(process: subprocess.Popen[bytes]) -> None:
    """As its user would, or by force."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _consumer(broker: Broker) -> Consumer:
    told = {"bootstrap.servers": broker.address, "group.id": "bench", "log_level": 0}
    return Consumer({**told, "enable.auto.commit": False})


def _highs(consumer: Consumer, topic: str) -> list[tuple[int, int]]:
    return [
        (number, _high(consumer, TopicPartition(topic, number))) for number in range(PARTITIONS)
    ]


def _high(consumer: Consumer, place: TopicPartition) -> int:
    deadline = time.monotonic() + 10
    while True:
        try:
            return int(consumer.get_watermark_offsets(place, timeout=10)[1])
        except KafkaException as ex:
            # The leader of a new topic is the last to hear of it.
            passing = ex.args[0].code() == KafkaError.NOT_LEADER_FOR_PARTITION
            if not passing or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _workers(supervisor: int) -> list[int]:
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [int(pid) for pid in children]

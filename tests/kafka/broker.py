"""A real Kafka broker for tests: one node in KRaft mode, on the loopback interface alone.

    with Broker() as broker:
        broker.create_topic("payments", partitions=4)
        Producer({"bootstrap.servers": broker.address})

It needs Java 17 or newer, and the jars that tests/setup.sh fetches: `lacking()` says what is not
there. The broker dies with the thread that started it, so start it in the test's own.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

HERE = Path(__file__).parent
JARS = HERE / "target" / "libs"
FETCHED = HERE / "target" / ".fetched"  # setup.sh makes it when all jars are there

START_SECONDS = 120.0  # on a busy machine; 2 to 3 on an idle one
STOP_SECONDS = 30.0
CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"  # any 16 bytes in base64

# Fast to start and small; a run of the tests is too short for the second compiler to pay.
JAVA = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
BROKER_HEAP = ("-Xms128m", "-Xmx384m")
TOOL_HEAP = ("-Xmx128m",)

# Run by Python before it becomes Java: the kernel kills the broker when the tests die, however
# they die. prctl(2), PR_SET_PDEATHSIG; they may have died before, hence the look at the parent.
DIE_WITH_PARENT = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""

TOOLS = {
    "kafka-configs": "org.apache.kafka.tools.ConfigCommand",
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
}


class BrokerFailed(RuntimeError):
    """The broker did not start, or one of its tools failed; with what it said."""


class Broker:
    """A broker in a directory of its own; as a context manager it starts, stops and is removed.

    listeners: further listeners by name, with their security protocol: {"SAFE": "SASL_SSL"}; their
    addresses are `at(name)`. The plain one, which everybody may use, is always there.
    advertised: what clients of a listener are told instead of its address, by its name.
    properties: of the server, over those of server.properties.
    scram: passwords by user, for SCRAM-SHA-512.
    """

    def __init__(
        self,
        *,
        listeners: Mapping[str, str] | None = None,
        advertised: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        scram: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tidegate-kafka-"))
        self.log = self.directory / "log"
        self._protocols = {"PLAIN": "PLAINTEXT", **(listeners or {}), "CONTROLLER": "PLAINTEXT"}
        self._ports = dict(zip(self._protocols, free_ports(len(self._protocols)), strict=True))
        self._advertised = dict(advertised or {})
        self._properties = dict(properties or {})
        self._scram = dict(scram or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """host:port of the plain listener, the same after every restart."""
        return self.at("PLAIN")

    @property
    def pid(self) -> int | None:
        """Of the broker's process, while it was not stopped."""
        return self._process.pid if self._process else None

    def at(self, listener: str) -> str:
        """host:port of that listener."""
        return f"127.0.0.1:{self._ports[listener]}"

    def start(self) -> Self:
        """Returns when the broker answers. On its data of before, if it was stopped or killed."""
        assert self._process is None, "it runs already"
        if not (self.directory / "data" / "meta.properties").exists():
            self._format()
        command = [*JAVA, *BROKER_HEAP, *self._options(), "kafka.Kafka", str(self._config)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-ISc", DIE_WITH_PARENT, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is the tests' to act upon
            )
        self._wait()
        return self

    def stop(self) -> None:
        """Ends the broker in order (SIGTERM); its data stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the broker as a crash does (SIGKILL); its data stay."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stops it in order if it runs, and starts it: same port, same data."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Ends the broker, and its data with it."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()

    def create_topic(self, name: str, partitions: int = 4, **config: object) -> None:
        """config: of the topic, with underscores for points: `max_message_bytes=1000`."""
        self.create_topics([name], partitions, **config)

    def create_topics(self, names: Iterable[str], partitions: int = 4, **config: object) -> None:
        """Several at once, all alike. Returns when each can be written to and read."""
        given = {key.replace("_", "."): str(value) for key, value in config.items()}
        admin = self.admin()  # in a variable: its answers end with it
        made = admin.create_topics([NewTopic(name, partitions, 1, config=given) for name in names])
        for topic in made.values():
            topic.result(timeout=30)
        # The controller knows them now, the broker soon.
        deadline = time.monotonic() + 30
        while not all(_has_leaders(admin, name, partitions) for name in made):
            assert time.monotonic() < deadline, "new topics have no leaders after 30 s"
            time.sleep(0.02)

    def delete_topics(self, *names: str) -> None:
        """Asks for it; the broker does it soon after."""
        admin = self.admin()
        for deleted in admin.delete_topics(list(names)).values():
            deleted.result(timeout=30)

    def admin(self) -> AdminClient:
        """A client of the plain listener, which may do anything."""
        return AdminClient({"bootstrap.servers": self.address, "log_level": 0})

    def tool(self, name: str, *arguments: str, seconds: float = 60.0) -> str:
        """What one of Kafka's command-line tools printed, e.g.
        `tool("kafka-consumer-groups", "--describe", "--group", "tidegate")`; name: one of `TOOLS`
        or a Java class. It is told the plain listener. Raises BrokerFailed when the tool fails."""
        bootstrap = ["--bootstrap-server", self.address]
        return self._run(TOOLS.get(name, name), *bootstrap, *arguments, seconds=seconds)

    @property
    def _config(self) -> Path:
        return self.directory / "server.properties"

    def _format(self) -> None:
        """Makes the directory for data, with the users that SCRAM knows."""

        def each(addresses: Mapping[str, str]) -> str:
            return ",".join(f"{name}://{address}" for name, address in addresses.items())

        listeners = {name: self.at(name) for name in self._protocols}
        clients = {
            name: self._advertised.get(name, address)
            for name, address in listeners.items()
            if name != "CONTROLLER"
        }
        protocols = ",".join(f"{name}:{protocol}" for name, protocol in self._protocols.items())
        own = {
            "log.dirs": str(self.directory / "data"),
            "listeners": each(listeners),
            "advertised.listeners": each(clients),
            "listener.security.protocol.map": protocols,
            "inter.broker.listener.name": "PLAIN",
            "controller.quorum.voters": f"1@{self.at('CONTROLLER')}",
        }
        lines = [f"{name}={value}\n" for name, value in (own | self._properties).items()]
        self._config.write_text((HERE / "server.properties").read_text() + "".join(lines))
        arguments = ["--cluster-id", CLUSTER, "--config", str(self._config)]
        for user, password in self._scram.items():
            arguments += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        self._run("kafka.tools.StorageTool", "format", *arguments, seconds=START_SECONDS)

    def _options(self) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"
        # A killed broker leaves the libraries that it unpacked: they are removed with its data.
        temporary = f"-Djava.io.tmpdir={self.directory}"
        return [logging, temporary, "-cp", f"{JARS}/*"]

    def _run(self, main: str, *arguments: str, seconds: float) -> str:
        done = subprocess.run(
            [*JAVA, *TOOL_HEAP, *self._options(), main, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode != 0:
            raise BrokerFailed(f"{main} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def _wait(self) -> None:
        assert self._process is not None
        quick = {"reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 100, "log_level": 0}
        admin = AdminClient({"bootstrap.servers": self.address, **quick})
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                admin.list_topics(timeout=0.25)
            except KafkaException:
                pass
            else:
                return
            if (late := time.monotonic() > deadline) or self._process.poll() is not None:
                self.kill()
                told = self.log.read_text(errors="replace")[-4000:]
                how = f"did not answer in {START_SECONDS:g} s" if late else "ended"
                raise BrokerFailed(f"the broker {how}: {told}")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _has_leaders(admin: AdminClient, topic: str, partitions: int) -> bool:
    found = admin.list_topics(topic, timeout=10).topics[topic].partitions
    return len(found) == partitions and all(part.leader >= 0 for part in found.values())


def lacking() -> str | None:
    """What is needed and not there, in one line; None if a broker can be started."""
    if shutil.which("java") is None:
        return "a Kafka broker for tests needs Java 17 or newer"
    if not FETCHED.exists():
        return "a Kafka broker for tests needs its jars: make setup-tests"
    return None


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens at.

    Below those that the system gives to outgoing connections (from 32768 on): a client that tries
    again and again to reach a stopped broker would some day be given the very port, and connect to
    itself.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found

"""What a release has outside of the cluster: a TimescaleDB that takes TLS alone, and a Kafka that
takes SCRAM over TLS. Both run on this machine, and pods reach them as `database.outside:5432` and
`kafka.outside:9093`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import conninfo

from tests.certificates import certificate
from tests.cluster.node import ADDRESS, Node
from tests.cluster.services import lead_here
from tests.kafka.broker import Broker
from tests.kafka.secured import PASSWORD, scram_properties, signed
from tests.timescale import debian
from tests.timescale.debian import Tls

DATABASE, KAFKA = ("database.outside", 5432), ("kafka.outside", 9093)


@dataclass(frozen=True)
class Outside:
    """They run. database: URL of it for whoever runs on this machine; database_url, kafka_config
    (librdkafka's properties) and certificates (what to trust, PEM) are what a release is told."""

    database: str
    broker: Broker
    database_url: str
    kafka_config: dict[str, str]
    certificates: bytes


@contextmanager
def outside(node: Node, directory: Path) -> Iterator[Outside]:
    """Both, with an empty database; gone at the end."""
    trusted = "/etc/tidegate/tls/ca.crt"  # where the chart mounts it
    with ExitStack() as made:
        own = certificate(DATABASE[0])
        server = made.enter_context(
            debian.server(Tls(DATABASE[1], own.pem, own.key, address=ADDRESS))
        )
        with psycopg.connect(server, autocommit=True) as conn:
            conn.execute("CREATE DATABASE tidegate")
        directory.mkdir()
        store, ca = signed(directory / "kafka", f"dns:{KAFKA[0]}")
        broker = made.enter_context(
            Broker(
                listeners={"SAFE": "SASL_SSL"},
                advertised={"SAFE": ":".join(map(str, KAFKA))},
                properties=scram_properties(store, "SAFE"),
                scram={"tidegate": PASSWORD},
            )
        )
        _pass(made, f"{ADDRESS}:{KAFKA[1]}", broker.at("SAFE"))
        node.kubectl("create", "namespace", "outside")
        for name, port in (DATABASE, KAFKA):
            lead_here(node, "outside", name.partition(".")[0], port)
        yield Outside(
            conninfo.make_conninfo(server, dbname="tidegate"),
            broker,
            f"postgresql://postgres@{DATABASE[0]}:{DATABASE[1]}/tidegate"
            f"?sslmode=verify-full&sslrootcert={trusted}",
            {
                "security.protocol": "SASL_SSL",
                "ssl.ca.location": trusted,
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "tidegate",
                "sasl.password": PASSWORD,
            },
            own.pem + ca.read_bytes(),
        )


def _pass(made: ExitStack, listen: str, target: str) -> None:
    process = subprocess.Popen([sys.executable, "-m", "tests.faults.relay", listen, target])
    made.callback(process.wait)
    made.callback(process.kill)

"""A database that is reached over TLS: certificates are checked, and nothing goes in the clear."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

import migrations
from tests import databases
from tests.certificates import certificate
from tests.conftest import missing
from tests.kafka.broker import free_ports
from tests.tidegate.cli.conftest import Command
from tests.timescale import debian
from tidegate.store import connection

ENCRYPTED = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
OF_SERVER = (
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_keepalives_count",
    "tcp_user_timeout",
)
OURS = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)


@dataclass(frozen=True)
class Secured:
    """A server that takes TLS alone on its port. url: of a database, without how it is reached."""

    url: str
    trusted: Path
    another: Path

    def by(self, **how: object) -> str:
        """The database's URL, reached like this."""
        return self.url + "".join(f"&{name}={value}" for name, value in how.items())


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    if not debian.installed():
        missing(debian.NEEDS)
    directory = tmp_path_factory.mktemp("tls")
    own = certificate("localhost")
    (directory / "own.pem").write_bytes(own.pem)
    (directory / "another.pem").write_bytes(certificate("localhost").pem)
    (port,) = free_ports(1)
    with (
        debian.server(debian.Tls(port, own.pem, own.key)) as local,
        databases.fresh(local, None) as url,
    ):
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        reached = f"postgresql://postgres@localhost:{port}/{name}?gssencmode=disable"
        yield Secured(reached, directory / "own.pem", directory / "another.pem")


def test_a_session_is_encrypted(secured: Secured) -> None:
    url = secured.by(sslmode="verify-full", sslrootcert=secured.trusted)
    migrations.upgrade(url)
    with connection.connect(url, application_name="test") as conn:
        row = conn.execute(ENCRYPTED).fetchone()
    assert row is not None
    assert row[0] is True
    assert row[1] in ("TLSv1.2", "TLSv1.3")


def test_both_sides_notice_soon_when_the_other_is_gone_without_a_word(secured: Secured) -> None:
    url = secured.by(sslmode="verify-full", sslrootcert=secured.trusted, keepalives_count=7)
    with connection.connect(url, application_name="test") as conn:
        shown = [conn.execute(f"SHOW {name}").fetchone() for name in OF_SERVER]
        kept = socket.socket(fileno=os.dup(conn.fileno()))
    assert shown == [("10",), ("5",), ("4",), ("30000",)]
    with kept:
        options = [kept.getsockopt(socket.IPPROTO_TCP, option) for option in OURS]
    assert options == [10, 5, 7, 30_000]  # what the URL says goes first


def test_a_certificate_of_somebody_else_is_refused(secured: Secured) -> None:
    url = secured.by(sslmode="verify-full", sslrootcert=secured.another)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        connection.connect(url, application_name="test")


def test_a_certificate_of_another_name_is_refused(secured: Secured) -> None:
    url = secured.by(sslmode="verify-full", sslrootcert=secured.trusted)
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        connection.connect(url.replace("localhost", "127.0.0.1"), application_name="test")


def test_plain_text_is_refused(secured: Secured) -> None:
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        connection.connect(secured.by(sslmode="disable"), application_name="test")


def test_the_commands_say_what_is_wrong_in_a_line(secured: Secured, tidegate: Command) -> None:
    url = secured.by(sslmode="verify-full", sslrootcert=secured.trusted)
    assert tidegate("migrate", DATABASE_URL=url).returncode == 0
    assert tidegate("migrate", "--check", DATABASE_URL=url).returncode == 0
    wrong = secured.by(sslmode="verify-full", sslrootcert=secured.another)
    told = tidegate("migrate", "--check", DATABASE_URL=wrong)
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert "certificate verify failed" in told.stderr

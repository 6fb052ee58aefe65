"""The embedded server is private, shared by whoever starts it, and survives being killed."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from tidegate import embedded


@pytest.fixture
def home() -> Iterator[Path]:
    """Where a server may live. Its path is short enough for a socket."""
    parent = Path(tempfile.mkdtemp(prefix="tidegate-test-"))
    yield parent / "db"
    shutil.rmtree(parent)


def value(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def is_up(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def socket_directory(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def make_table(url: str) -> None:
    with psycopg.connect(url) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 42 AS x")


def test_only_its_owner_reaches_a_durable_server(home: Path) -> None:
    with embedded.start(home) as server:
        assert value(server.url, "SELECT current_database()") == "tidegate"
        assert value(server.url, "SHOW listen_addresses") == ""
        assert value(server.url, "SHOW fsync") == "on"
        assert value(server.url, "SHOW synchronous_commit") == "on"
        assert value(server.url, "SELECT bool_and(auth_method = 'peer') FROM pg_hba_file_rules")
        for private in (home, home / "data", socket_directory(server.url)):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_data_survives_a_restart(home: Path) -> None:
    with embedded.start(home) as server:
        make_table(server.url)
    assert not is_up(server.url)
    with embedded.start(home) as server:
        assert value(server.url, "SELECT x FROM kept") == 42


def test_the_last_to_stop_stops_the_server(home: Path) -> None:
    first, second = embedded.start(home), embedded.start(home)
    assert first.url == second.url
    first.stop()
    first.stop()
    assert is_up(second.url)
    second.stop()
    assert not is_up(second.url)


def test_a_killed_owner_leaves_nothing_in_the_way(home: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from tidegate import embedded;"
        "server = embedded.start(Path(sys.argv[1])); print(server.url, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, home],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        url = owner.stdout.readline().strip()
        joined = embedded.start(home)
        owner.kill()
        owner.wait()
    assert is_up(url)
    joined.stop()
    assert not is_up(url)


def test_a_killed_server_recovers_what_was_committed(home: Path) -> None:
    server = embedded.start(home)
    make_table(server.url)
    postmaster = int((home / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGKILL)
    with embedded.start(home) as again:
        assert value(again.url, "SELECT x FROM kept") == 42
        server.stop()
        assert is_up(again.url)


def test_a_server_that_died_is_stopped_without_complaint(home: Path) -> None:
    with embedded.start(home) as server:
        os.kill(int((home / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    assert not is_up(server.url)


def test_a_half_made_data_directory_is_made_anew(home: Path) -> None:
    with embedded.start(home):
        pass
    (home / "data").rename(home / "data.new")
    (home / "data.new" / "global" / "pg_control").unlink()
    with embedded.start(home) as server:
        assert is_up(server.url)


def test_a_directory_of_other_files_is_left_alone(home: Path) -> None:
    home.mkdir(mode=0o755)
    (home / "letter.txt").write_text("mine")
    with pytest.raises(embedded.EmbeddedError, match="choose an empty one"):
        embedded.start(home)
    assert [path.name for path in home.iterdir()] == ["letter.txt"]
    assert stat.S_IMODE(home.stat().st_mode) == 0o755


def test_a_path_too_long_for_a_socket_still_gets_a_private_one(home: Path) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    with embedded.start(deep) as server:
        socket = socket_directory(server.url)
        assert is_up(server.url)
        assert not socket.is_relative_to(deep)
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    assert not socket.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as another user")
def test_root_may_keep_the_server_in_a_closed_directory(home: Path) -> None:
    home.mkdir(mode=0o700)
    with embedded.start(home / "within") as server:
        assert is_up(server.url)
    # Only the group bits show the list's mask; nobody else may enter.
    assert stat.S_IMODE(home.stat().st_mode) & 0o007 == 0
    nobody = subprocess.run(["ls", home], user=65_534, group=65_534, capture_output=True)
    assert nobody.returncode != 0


def test_why_it_cannot_start_is_said_in_one_line(home: Path) -> None:
    with embedded.start(home):
        pass
    (home / "data" / "global" / "pg_control").unlink()
    with pytest.raises(embedded.EmbeddedError, match="pg_control") as refused:
        embedded.start(home)
    assert "\n" not in str(refused.value)

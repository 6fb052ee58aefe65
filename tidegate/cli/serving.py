"""`tidegate api`: the API and the pages."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import typer
import uvicorn

from api import create_app
from api.heads import TimedHeads
from api.server import Server
from models.features import NAMES
from tidegate import tracing
from tidegate.cli.database import migrated, this_release
from tidegate.collector import settle
from tidegate.environment import is_loopback
from tidegate.settings import Access, Kafka, SettingError, Settings


def serve(settings: Settings, host: str, port: int) -> None:
    """Serves until SIGINT or SIGTERM. A database that is set may be away at the start; /readyz then
    says so."""
    # uvicorn raises the signal that ended it once more. By default that would end the process on
    # the spot, and leave an embedded database running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    if not settings.access.auth and not is_loopback(host):
        raise SettingError(
            "TIDEGATE_AUTH", f"is off: just a loopback --host may be served, not {host}"
        )
    if settings.storage.database_url is not None:
        _run(settings.storage.database_url, host, port, settings)
        return
    with migrated(settings) as database:
        _run(database.url, host, port, settings)


def _run(database_url: str, host: str, port: int, settings: Settings) -> None:
    server = _server(database_url, host, port, settings)
    with tracing.sending(settings.monitoring, "tidegate-api"):
        server.config.load()  # what it would import only when it runs
        settle()
        server.run()


@contextmanager
def in_background(database_url: str, port: int, settings: Settings) -> Iterator[str]:
    """Serves from a thread on the loopback address, to whoever asks there, beside a flow that reads
    files: no payments are taken. Gives the address of the pages. Raises OSError when the port is
    taken."""
    open_to_all = replace(settings, access=Access(auth=False), kafka=Kafka())
    server = _server(database_url, "127.0.0.1", port, open_to_all, takes=False)
    sock = server.config.bind_socket() if _free(port) else None
    if sock is None:
        raise OSError(f"port {port} is taken: choose another with --port")
    thread = threading.Thread(target=server.run, args=([sock],), name="tidegate-api", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        sock.close()


def _server(
    database_url: str, host: str, port: int, settings: Settings, *, takes: bool = True
) -> Server:
    app = create_app(
        database_url,
        release=this_release(),
        feature_names=NAMES,
        kafka=settings.kafka if settings.kafka.brokers else None,
        access=settings.access,
        tell_first_key=_tell_first_key,
        hooks=settings.webhooks,
        takes=takes,
    )
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        http=TimedHeads,
        server_header=False,
        forwarded_allow_ips=["127.0.0.1", "::1", *map(str, settings.access.proxies)],
        timeout_graceful_shutdown=5,
        # Longer than load balancers and clients keep a connection: who closes one first must not
        # be the side that may be sent a request meanwhile.
        timeout_keep_alive=75,
    )
    typer.echo(f"API and pages: http://{host}:{port}/", err=True)
    return Server(app, config)


def _tell_first_key(key: str) -> None:
    typer.echo(
        f"There was no key yet, so this one was made, for an admin: {key}\n"
        "It is shown this once. Sign in to the pages with it, or send it as\n"
        "`Authorization: Bearer <key>`; make others with `tidegate keys create`.",
        err=True,
    )


def _free(port: int) -> bool:
    # uvicorn's own bind ends the process when the port is taken.
    import socket

    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

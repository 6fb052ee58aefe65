"""`tidegate api`: the API and the pages."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import typer
import uvicorn

import migrations
from api import create_app
from api.server import Server
from models.features import NAMES
from tidegate.cli.database import migrated
from tidegate.settings import Kafka, Settings, Webhooks


def serve(settings: Settings, host: str, port: int) -> None:
    """Serves until SIGINT or SIGTERM. A database that is set may be away at the start; /readyz then
    says so."""
    # uvicorn raises the signal that ended it once more. By default that would end the process on
    # the spot, and leave an embedded database running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    kafka = settings.kafka if settings.kafka.brokers else None
    if settings.storage.database_url is not None:
        _server(settings.storage.database_url, host, port, settings.webhooks, kafka).run()
        return
    with migrated(settings) as database:
        _server(database.url, host, port, settings.webhooks, kafka).run()


@contextmanager
def in_background(database_url: str, port: int, hooks: Webhooks) -> Iterator[str]:
    """Serves from a thread on the loopback address; gives the address of the pages. Raises OSError
    when the port is taken."""
    server = _server(database_url, "127.0.0.1", port, hooks)
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
    database_url: str, host: str, port: int, hooks: Webhooks, kafka: Kafka | None = None
) -> Server:
    app = create_app(
        database_url,
        schema_revision=migrations.head(),
        feature_names=NAMES,
        kafka=kafka,
        hooks=hooks,
    )
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, server_header=False, timeout_graceful_shutdown=5
    )
    typer.echo(f"API and pages: http://{host}:{port}/", err=True)
    return Server(app, config)


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

"""A request's head comes in time or its connection is closed; nothing else is."""

from __future__ import annotations

import socket
import time
from contextlib import closing, suppress
from http.client import HTTPConnection

import pytest

from api import heads

SECONDS = 1.0
GET = b"GET /healthz HTTP/1.1\r\nHost: it\r\n\r\n"


@pytest.fixture
def port(client, monkeypatch):
    monkeypatch.setattr(heads, "HEAD_SECONDS", SECONDS)
    return client.base_url.port


def connected(port):
    return closing(socket.create_connection(("127.0.0.1", port), timeout=10))


def closed_after(sock):
    """Seconds until the server closes, with nothing said."""
    began = time.monotonic()
    assert sock.recv(1) == b""
    return time.monotonic() - began


def ask(conn):
    conn.request("GET", "/healthz")
    answer = conn.getresponse()
    answer.read()
    return answer.status


def drip(sock, what=GET[:30] * 3):
    """Sends it drop by drop until it cannot; says for how many seconds it could."""
    began = time.monotonic()
    with suppress(OSError):
        for byte in what:
            sock.sendall(bytes([byte]))
            time.sleep(0.1)
    return time.monotonic() - began


def test_a_connection_that_says_nothing_is_closed(port):
    with connected(port) as sock:
        assert 0.5 * SECONDS < closed_after(sock) < 8


def test_a_head_that_comes_drop_by_drop_is_cut_off(port):
    with connected(port) as sock:
        assert 0.5 * SECONDS < drip(sock) < 8


def test_the_second_head_of_a_connection_is_bounded_too(port):
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as conn:
        assert ask(conn) == 200
        conn.sock.sendall(GET[:20])
        assert 0.5 * SECONDS < closed_after(conn.sock) < 8


def test_a_connection_that_was_used_may_be_idle_for_longer(port):
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as conn:
        assert ask(conn) == 200
        sock = conn.sock
        time.sleep(2 * SECONDS)
        assert ask(conn) == 200
        assert conn.sock is sock  # it did not connect again


@pytest.mark.parametrize("drop", [b"\r\n", b"x"])
def test_who_goes_on_with_a_body_that_nobody_reads_or_sends_nothing_of_use_is_cut_off(port, drop):
    head = "GET /healthz HTTP/1.1\r\nHost: it\r\nContent-Length: 9999\r\n\r\n"
    with connected(port) as sock:
        if drop == b"x":
            sock.sendall(head.encode())
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        assert drip(sock, drop * 100) < 8


def test_a_head_in_parts_within_the_time_is_answered(port):
    with connected(port) as sock:
        for part in (GET[:10], GET[10:30], GET[30:-1]):
            sock.sendall(part)
            time.sleep(0.1 * SECONDS)
        sock.sendall(GET[-1:])
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")


def test_an_answer_may_take_longer(port, client):
    head = (
        "GET /v1/alerts/stream HTTP/1.1\r\nHost: it\r\nAccept: text/event-stream\r\n"
        f"Authorization: {client.headers['authorization']}\r\n\r\n"
    )
    with connected(port) as sock:
        sock.sendall(head.encode())
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        time.sleep(2 * SECONDS)
        sock.setblocking(False)
        with suppress(BlockingIOError):  # it is open, and there is nothing to say
            assert sock.recv(4096) != b""

"""Webhooks reach the internet and not the network that we stand in, whatever a name says later."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import httpx
import pytest

from api.targets import BadTarget, Targets, Transport, is_public
from tests.api.receiver import receiving
from tests.certificates import certificate


def run(work):
    """Runs it in a thread: where a browser was opened, this one has a loop that runs already."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, work).result()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "168.63.129.16",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2001:0:7f00:1::",
        "::7f00:1",
        "64:ff9b:1::1",
        "fec0::1",
        "3fff::1",
    ],
)
def test_an_address_that_is_not_of_the_internet_is_refused(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:2800:21f:cb07::1"])
def test_an_address_of_the_internet_is_taken(address):
    assert is_public(ip_address(address))


def named(monkeypatch, *answers):
    """Names have these addresses, one answer after the other."""
    asked = []

    def look_up(host, port, **given):
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in found]

    monkeypatch.setattr("api.targets.getaddrinfo", look_up)
    return asked


def post(url, *, allow_private=False, verify=None):
    async def go():
        targets = Targets(allow_private=allow_private)
        transport = Transport(targets, verify or httpx.create_ssl_context())
        try:
            async with httpx.AsyncClient(transport=transport, timeout=5) as client:
                return await client.post(targets.check(url), content=b"{}")
        finally:
            targets.close()

    return run(go())


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::1"]])
def test_a_name_that_leads_into_a_private_network_is_refused(monkeypatch, answer):
    named(monkeypatch, answer)
    with receiving() as receiver, pytest.raises(BadTarget, match="not a public address"):
        post(f"https://hooks.example.com:{receiver.port}/")
    assert receiver.received == []


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f.1", "127.1"])
def test_a_loopback_address_in_disguise_is_refused(host):
    with receiving() as receiver, pytest.raises(BadTarget, match=r"127\.0\.0\.1|::1"):
        post(f"https://{host}:{receiver.port}/")
    assert receiver.received == []


def test_what_is_connected_to_is_what_was_judged_although_the_name_changes(monkeypatch):
    # The second answer is what an attacker would give between the judgement and the connection.
    asked = named(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
    with receiving() as receiver:
        answer = post(f"http://hooks.example.com:{receiver.port}/x", allow_private=True)
        assert answer.status_code == 200
    assert asked == ["hooks.example.com"]
    (request,) = receiver.received
    assert request.headers["host"] == f"hooks.example.com:{receiver.port}"
    assert request.path == "/x"


def test_of_several_addresses_the_next_is_tried(monkeypatch):
    named(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    with receiving() as receiver:  # listens on the second alone
        url = f"http://hooks.example.com:{receiver.port}/"
        assert post(url, allow_private=True).status_code == 200


def certified(tmp_path, name):
    """A server's TLS with a certificate of that name, and a client's that trusts it."""
    made = certificate(name)
    pem = tmp_path / "server.pem"
    pem.write_bytes(made.key + made.pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=pem)


def test_tls_goes_by_the_name_although_the_address_is_connected_to(monkeypatch, tmp_path):
    named(monkeypatch, ["127.0.0.1"])
    server, client = certified(tmp_path, "hooks.example.com")
    names = []
    server.sni_callback = lambda _sock, name, _context: names.append(name)
    with receiving(server) as receiver:
        url = f"https://hooks.example.com:{receiver.port}/"
        assert post(url, allow_private=True, verify=client).status_code == 200
        assert names == ["hooks.example.com"]
        with pytest.raises(httpx.ConnectError, match=r"[Hh]ostname"):
            post(f"https://other.example.com:{receiver.port}/", allow_private=True, verify=client)
        with pytest.raises(httpx.ConnectError, match=r"self.signed"):
            post(url, allow_private=True)
    assert len(receiver.received) == 1


def test_a_proxy_of_the_environment_is_not_used(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with receiving() as receiver:
        assert post(receiver.url, allow_private=True).status_code == 200


def test_a_name_that_is_not_known_is_said_to_be(monkeypatch):
    def look_up(host, port, **given):
        raise socket.gaierror

    monkeypatch.setattr("api.targets.getaddrinfo", look_up)
    with pytest.raises(BadTarget, match="its name is not known"):
        post("https://hooks.example.com/")


def test_a_name_server_that_hangs_takes_one_thread_for_a_name(monkeypatch):
    async def go():
        targets = Targets(allow_private=False)
        url = httpx.URL("https://hooks.example.com/")
        looks = [asyncio.create_task(targets.addresses(url)) for _ in range(20)]
        await asyncio.sleep(0.1)
        looks[0].cancel()
        release.set()
        found = await asyncio.gather(*looks, return_exceptions=True)
        targets.close()
        return found

    release, asked = threading.Event(), []

    def look_up(host, port, **given):
        asked.append(host)
        release.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", port))]

    monkeypatch.setattr("api.targets.getaddrinfo", look_up)
    found = run(go())
    assert asked == ["hooks.example.com"]
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [["8.8.8.8"]] * 19

"""Where webhooks may be sent to: not into the network that we stand in ourselves.

The name is looked up once for each delivery, every address that it has is judged, and one of those
is connected to: what the name says a moment later does not matter (DNS rebinding). A proxy would
look it up again, so none is used.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import SOCK_STREAM, gaierror, getaddrinfo

import httpx

LONGEST_URL = 2000  # characters
_LOOKUPS = 64  # at a time, of different names: more than there are webhooks
_NAME = re.compile(rb"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")  # of a host, as it is looked up
_TRIED = 3  # addresses of a name

# What Python takes for public, or did in a release that may be ours: a cloud's agent and metadata
# service, special addresses of IETF's protocols, and documentation.
_NOT_PUBLIC_4 = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))
_NOT_PUBLIC_6 = (IPv6Network("3fff::/20"),)
_UNICAST = IPv6Network("2000::/3")  # all that was ever given out; NAT64 is outside

_Address = IPv4Address | IPv6Address


class BadTarget(ValueError):
    """Nothing may be sent there; the text says why."""


def is_public(address: _Address) -> bool:
    """Whether it is an address of the internet: neither private, shared, loopback, link-local,
    multicast, reserved or of a cloud's metadata, nor one of IPv6 that has one of IPv4 in it."""
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    embeds = address.sixtofour is not None or address.teredo is not None
    return (
        address in _UNICAST
        and not embeds
        and not any(address in network for network in _NOT_PUBLIC_6)
    )


class Targets:
    """Judges and looks up. `allow_private`: anything goes, and http, too."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="tidegate-lookup")
        self._looking: dict[tuple[str, int], asyncio.Future[list[_Address]]] = {}

    def check(self, url: str) -> httpx.URL:
        """The URL, if webhooks may have it; where its name leads is seen when something is sent.
        Raises BadTarget."""
        if len(url) > LONGEST_URL:
            raise BadTarget(f"at most {LONGEST_URL} characters")
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as ex:
            raise BadTarget("not a URL") from ex
        if parsed.scheme not in ("https", "http") or not parsed.host:
            raise BadTarget("an https URL with a host is needed")
        if parsed.scheme == "http" and not self._allow_private:
            raise BadTarget("https is needed")
        if parsed.userinfo or parsed.fragment:
            raise BadTarget("no user, password or fragment is allowed")
        if parsed.port is not None and not 1 <= parsed.port <= 65535:
            raise BadTarget("no such port")
        literal = _literal(parsed.host)
        if literal is not None:
            self._judge([literal])
        elif not _NAME.fullmatch(parsed.raw_host):
            raise BadTarget("the host is no name")
        return parsed

    async def addresses(self, url: httpx.URL) -> list[str]:
        """The addresses to connect to. Raises BadTarget, also where the name has none."""
        literal = _literal(url.host)
        if literal is not None:
            found = [literal]
        else:
            port = url.port or (443 if url.scheme == "https" else 80)
            found = await self._look_up(url.raw_host.decode("ascii"), port)
        self._judge(found)
        return [str(address) for address in found[:_TRIED]]

    def close(self) -> None:
        """Waits for no lookup."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _judge(self, addresses: list[_Address]) -> None:
        for address in addresses:
            if not self._allow_private and not is_public(address):
                raise BadTarget(f"{address} is not a public address")

    async def _look_up(self, host: str, port: int) -> list[_Address]:
        # A name server that says nothing takes one thread for each name, not one for each try.
        key = (host, port)
        looking = self._looking.get(key)
        if looking is None:
            loop = asyncio.get_running_loop()
            looking = loop.run_in_executor(self._threads, _looked_up, host, port)
            self._looking[key] = looking
            looking.add_done_callback(lambda _: self._looking.pop(key, None))
        return await asyncio.shield(looking)


class Transport(httpx.AsyncBaseTransport):
    """Connects only where `targets` allows, to an address that was judged, with the name of the URL
    for TLS and for the Host header."""

    def __init__(self, targets: Targets, verify: ssl.SSLContext) -> None:
        self._targets = targets
        # No connection is used again: they are known by address, and one that was made for a name
        # would serve another name of the same address, whose certificate nobody saw.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._inner = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request. Raises BadTarget and httpx.TransportError."""
        name = request.url.raw_host.decode("ascii")
        addresses = await self._targets.addresses(request.url)
        for last, address in zip([*[False] * (len(addresses) - 1), True], addresses, strict=True):
            there = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions | {"sni_hostname": name},
            )
            try:
                return await self._inner.handle_async_request(there)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if last:
                    raise
        raise BadTarget("its name has no address")

    async def aclose(self) -> None:
        """Closes what is open."""
        await self._inner.aclose()


def _looked_up(host: str, port: int) -> list[_Address]:
    try:
        found = getaddrinfo(host, port, type=SOCK_STREAM)
    except (gaierror, UnicodeError) as ex:
        raise BadTarget("its name is not known") from ex
    # Some have a scope, as fe80::1%eth0.
    return [ip_address(str(info[4][0])) for info in found]


def _literal(host: str) -> _Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None

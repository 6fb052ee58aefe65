"""How often somebody may ask: token buckets, in this process alone."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from starlette.types import Scope

MOST = 10_000  # buckets


class Buckets:
    """A bucket for each name, which holds `burst` requests and fills again by `rate` a second.

    At the bound the one goes that was used longest ago, and begins full when it comes back: whoever
    has more than MOST addresses gets more than the rate. For the event loop alone, no lock.
    """

    def __init__(
        self,
        rate: float,
        burst: float,
        *,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._most = most
        self._clock = clock
        self._buckets: OrderedDict[object, tuple[float, float]] = OrderedDict()  # (left, when)

    def take(self, name: object) -> float:
        """Takes one; 0, or the seconds until there is one again, and then none is taken."""
        left = self._left(name)
        if left < 1:
            return (1 - left) / self._rate
        self._buckets[name] = (left - 1, self._clock())
        self._buckets.move_to_end(name)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return 0

    def wait(self, name: object) -> float:
        """The seconds until there is one, without taking it."""
        return max(0.0, (1 - self._left(name)) / self._rate)

    def _left(self, name: object) -> float:
        left, when = self._buckets.get(name, (self._burst, 0.0))
        return min(self._burst, left + (self._clock() - when) * self._rate)


def address_of(scope: Scope) -> str:
    """Whose request it is, where nothing better is known. Of IPv6 the first 64 bits, which are one
    network, whose owner has all the rest."""
    client = scope.get("client")
    if client is None:  # a Unix socket
        return "local"
    address: str = client[0]
    if ":" not in address:
        return address
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return found.exploded[:19]

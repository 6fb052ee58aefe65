"""How often somebody may ask."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.access import limits, remembered
from api.access.callers import Caller
from api.access.limits import Buckets, address_of
from tests.api.keys import ADMIN_KEY, bearer, put_admin_key, put_key
from tidegate.access import Role
from tidegate.settings import Access


def run(work):
    """Runs it in a thread: where a browser was opened, this one has a loop that runs already."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, work).result()


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_bucket_holds_its_burst_and_fills_by_its_rate():
    clock = Clock()
    buckets = Buckets(2, 3, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0
    clock.now = 0.25
    assert buckets.take("a") == 0.25
    clock.now = 0.5
    assert [buckets.wait("a"), buckets.take("a"), buckets.wait("a")] == [0, 0, 0.5]
    clock.now = 1000
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_buckets_are_bounded_and_the_one_goes_that_was_used_longest_ago():
    buckets = Buckets(1, 1, most=2, clock=Clock())
    assert buckets.take("a") == buckets.take("b") == 0
    assert buckets.take("a") == 1
    assert buckets.take("c") == 0  # b or a had to go: a was taken from first
    assert len(buckets._buckets) == 2


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("2001:db8:1:2::ffff", "2001:0db8:0001:0002"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80:0000:0000:0000"),
    ],
)
def test_an_address_is_a_network_where_one_owner_has_many(address, name):
    assert address_of({"client": (address, 1)}) == name
    assert address_of({"client": None}) == "local"


def test_a_key_is_limited_and_others_are_not(serve, database, conn):
    api = serve(database, key=None, access=Access(rate_per_second=1, rate_burst=3))
    one, other = bearer(put_key(conn, Role.VIEWER)), bearer(put_key(conn, Role.VIEWER))
    answers = [api.get("/v1/session", headers=one) for _ in range(6)]
    assert [a.status_code for a in answers[:3]] == [200, 200, 200]
    last = answers[-1]
    assert last.status_code == 429
    assert last.headers["content-type"] == "application/problem+json"
    assert last.headers["retry-after"] == "1"
    assert api.get("/v1/session", headers=other).status_code == 200


def test_an_address_without_a_key_is_limited(serve, database):
    put_admin_key(database)
    api = serve(database, key=None, access=Access(rate_per_second=1, rate_burst=3))
    answers = [api.get(path).status_code for path in ("/healthz", "/v1/stats", "/none")]
    assert answers == [200, 401, 404]
    assert api.get("/v1/stats").status_code == api.get("/healthz").status_code == 429
    assert api.get("/v1/stats", headers=bearer(ADMIN_KEY)).status_code == 200


def test_wrong_keys_of_an_address_are_not_looked_up_for_ever(serve, database, conn):
    put_admin_key(database)
    api = serve(database, key=None)
    assert api.get("/v1/session", headers=bearer(ADMIN_KEY)).status_code == 200
    wrong = bearer("tg_testadmin_" + "x" * 43)
    statuses = [api.get("/v1/session", headers=wrong).status_code for _ in range(40)]
    assert statuses[:20] == [401] * 20
    assert 429 in statuses
    # Who is known already is still let in from there.
    assert api.get("/v1/session", headers=bearer(ADMIN_KEY)).status_code == 200


def test_what_is_remembered_is_asked_once_by_many_at_once_and_is_bounded():
    clock = Clock()
    kept = remembered.Remembered(seconds=5, most=2, clock=clock)
    asked = []

    async def find():
        asked.append(1)
        await asyncio.sleep(0.01)
        return Caller("a", "a", frozenset())

    async def many():
        await asyncio.gather(*(kept.ask(b"a", find) for _ in range(9)))
        assert len(asked) == 1
        assert kept.get(b"a") is not None
        clock.now = 5
        assert kept.get(b"a") is None
        assert kept.knew(b"a")
        await kept.ask(b"b", find)
        await kept.ask(b"c", find)
        assert not kept.knew(b"a")

    run(many())


def test_one_who_goes_away_takes_the_answer_from_nobody():
    kept = remembered.Remembered()

    async def find():
        await asyncio.sleep(0.05)
        return Caller("a", "a", frozenset())

    async def many():
        first = asyncio.ensure_future(kept.ask(b"a", find))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(kept.ask(b"a", find))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).actor == "a"

    run(many())


def test_the_bounds_are_as_the_documents_say():
    assert (limits.MOST, remembered.MOST, remembered.SECONDS) == (10_000, 4_096, 5.0)

"""Shards spread evenly over workers: by our own hash, and in Bytewax itself."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from dataflows.keys import default_hash, shard_keys, shards_of
from tidegate.schema import texts

ROOT = Path(__file__).parents[2]
LANDED = re.compile(r"^shard (\d+)$", re.MULTILINE)  # Bytewax prints there too


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 5, 6, 7, 8, 12, 16])
def test_shards_spread_evenly_over_any_number_of_workers_up_to_8(shards: int) -> None:
    keys = shard_keys(shards)
    assert len(set(keys)) == shards
    for workers in range(1, min(shards, 8) + 1):
        landed = [default_hash(key) % workers for key in keys]
        assert landed == [shard % workers for shard in range(shards)]


def test_beyond_8_workers_divisors_of_the_shards_are_even() -> None:
    keys = shard_keys(20)
    for workers in (10, 20):
        landed = [default_hash(key) % workers for key in keys]
        assert landed == [shard % workers for shard in range(20)]


def test_the_keys_never_change() -> None:
    # A recovery store knows its state by them.
    assert shard_keys(4) == ("shard-12", "shard-9", "shard-a", "shard-5")


def test_every_entity_has_its_shard_for_ever() -> None:
    names = texts([f"card-{number}" for number in range(1_000)] + ["ä", "卡"])
    owner = shards_of(names, 4)
    assert owner.tolist()[:8] == shards_of(names[:8], 4).tolist()
    assert set(owner.tolist()) == {0, 1, 2, 3}
    assert shards_of(texts(["card-0", "card-1", "ä"]), 4).tolist() == [2, 0, 3]
    assert shards_of(names, 1).tolist() == [0] * len(names)


@pytest.mark.parametrize(("shards", "workers"), [(4, 2), (8, 3)])
def test_bytewax_itself_sends_shard_i_to_worker_i_mod_w(shards: int, workers: int) -> None:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(workers)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]

    def job(index: int) -> str:
        return json.dumps([shards, index, addresses])

    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.dataflows.landing", job(index)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(workers)
    ]
    try:
        told = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * workers, told
    landed = [sorted(int(shard) for shard in LANDED.findall(out)) for out, _ in told]
    assert landed == [list(range(index, shards, workers)) for index in range(workers)]

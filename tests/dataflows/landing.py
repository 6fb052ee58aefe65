"""`python -m tests.dataflows.landing`: a worker of a flow that prints the shards landing on it."""

from __future__ import annotations

import json
import sys

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, cluster_main

from dataflows.keys import shard_keys


class _Print(StatelessSinkPartition[tuple[str, int]]):
    def write_batch(self, items: list[tuple[str, int]]) -> None:
        for _, shard in items:
            print(f"shard {shard}", flush=True)


class _Printing(DynamicSink[tuple[str, int]]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Print:
        return _Print()


def _same(state: None, shard: int) -> tuple[None, int]:
    return None, shard


if __name__ == "__main__":
    shards, index, addresses = json.loads(sys.argv[1])
    flow = Dataflow("landing")
    keyed = [(key, shard) for shard, key in enumerate(shard_keys(shards))]
    stream = op.input("in", flow, TestingSource(keyed))
    # A step with state is where a key decides on the worker; what follows stays there.
    stayed = op.stateful_map("state", stream, _same)
    op.output("out", stayed, _Printing())
    cluster_main(flow, addresses, index)

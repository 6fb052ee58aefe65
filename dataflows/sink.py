"""The sink: hands outcomes to the writer, and lets no snapshot pass before they are durable."""

from __future__ import annotations

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.messages import Outcome
from dataflows.noting import noting
from dataflows.sealed import seal, unseal
from dataflows.store import Writer, partitions
from tidegate import metrics

_KIND, _VERSION = "sink", 1


class _Partition(StatefulSinkPartition[Outcome, bytes]):
    def __init__(self, name: str, writer: Writer, resumed: int | None) -> None:
        self._name = name
        self._writer = writer
        writer.begin(name, resumed)

    @noting
    def write_batch(self, values: list[Outcome]) -> None:
        # Steps of one shard come in order, but Bytewax does not promise it for what it merges.
        self._writer.write(self._name, sorted(values, key=lambda outcome: outcome.number))

    @noting
    def snapshot(self) -> bytes:
        with metrics.SNAPSHOT_SECONDS.time():
            state = seal(_KIND, _VERSION, self._writer.settle(self._name))
        metrics.LAST_SNAPSHOT.set_to_current_time()
        return state


class OutcomeSink(FixedPartitionedSink[Outcome, bytes]):
    """Stores outcomes keyed by shard, `FACTS` or `LEARNING`, one partition each.

    Its snapshot is the number of the last step that is durable, which a resumed partition compares
    with what the database holds (`Writer.begin`)."""

    def __init__(self, shards: tuple[str, ...], writer: Writer) -> None:
        self._parts = partitions(shards)
        self._index = {name: index for index, name in enumerate(self._parts)}
        self._writer = writer

    def list_parts(self) -> list[str]:
        """All partitions: every worker can serve any of them."""
        return self._parts

    def part_fn(self, item_key: str) -> int:
        """A partition of its own for each key."""
        return self._index[item_key]

    @noting
    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> StatefulSinkPartition[Outcome, bytes]:
        """One partition, anew or resumed."""
        resumed = None if resume_state is None else _last(resume_state)
        return _Partition(for_part, self._writer, resumed)


def next_number(state: bytes) -> int:
    """The number of the step that a partition with this snapshot expects next. Raises BadState."""
    return _last(state) + 1


def _last(state: bytes) -> int:
    return unseal(_KIND, _VERSION, state, int)

"""The sink: hands outcomes to the writer, and lets no snapshot pass before they are durable."""

from __future__ import annotations

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.messages import Outcome
from dataflows.noting import noting
from dataflows.store import Writer, partitions
from tidegate import metrics


class _Partition(StatefulSinkPartition[Outcome, int]):
    def __init__(self, name: str, writer: Writer, resumed: int | None) -> None:
        self._name = name
        self._writer = writer
        writer.begin(name, resumed)

    @noting
    def write_batch(self, values: list[Outcome]) -> None:
        # Steps of one shard come in order, but Bytewax does not promise it for what it merges.
        self._writer.write(self._name, sorted(values, key=lambda outcome: outcome.number))

    @noting
    def snapshot(self) -> int:
        with metrics.SNAPSHOT_SECONDS.time():
            return self._writer.settle(self._name)


class OutcomeSink(FixedPartitionedSink[Outcome, int]):
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
        self, step_id: str, for_part: str, resume_state: int | None
    ) -> StatefulSinkPartition[Outcome, int]:
        """One partition, anew or resumed."""
        return _Partition(for_part, self._writer, resume_state)

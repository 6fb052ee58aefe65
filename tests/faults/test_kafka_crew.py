"""A run on several machines, which are network namespaces: they come, go, die and hang."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.kafka_place import KafkaPlace, Record, a_place
from tests.faults.machines import Machine, machines, need_machines, reaching
from tests.faults.scales import Scale, at_scales, seeded
from tests.kafka.broker import Broker
from tidegate.settings import Topics

ROUND = 60.0  # seconds that the changes of a round take


@dataclass
class Crew:
    """A leader on the first machine, and who has joined it, by machine."""

    place: KafkaPlace
    machines: list[Machine]
    members: dict[Machine, subprocess.Popen[bytes]] = field(default_factory=dict)

    def join(self, number: int) -> None:
        """So many more machines offer a worker; returns when they work."""
        generation = self.place.generation()
        for machine in [m for m in self.machines[1:] if m not in self.members][:number]:
            self.members[machine] = self.place.cluster.join(machine)
        self.wait_working(1 + len(self.members), after=generation)

    def leave(self, number: int) -> None:
        """So many are told to end, and do when the others have gone on without them."""
        generation = self.place.generation()
        leaving = [self.members.pop(machine) for machine in list(self.members)[:number]]
        for process in leaving:
            process.send_signal(signal.SIGTERM)
        self.wait_working(1 + len(self.members), after=generation)
        assert [process.wait(30) for process in leaving] == [0] * number

    def kill(self) -> None:
        """A machine is gone, with all that ran on it."""
        generation = self.place.generation()
        machine = next(iter(self.members))
        self._signal(machine, signal.SIGKILL)
        self.members.pop(machine).wait(30)
        self.wait_working(1 + len(self.members), after=generation)

    def hang(self) -> None:
        """A machine stands still until the others work without it; then it is back."""
        generation = self.place.generation()
        machine = next(iter(self.members))
        self._signal(machine, signal.SIGSTOP)
        self.wait_working(len(self.members), after=generation)
        generation = self.place.generation()
        self._signal(machine, signal.SIGCONT)
        self.wait_working(1 + len(self.members), after=generation)

    def wait_working(self, workers: int, after: int) -> None:
        """Until a later generation has so many workers and decides, which is timed."""
        began = time.monotonic()
        while self.place.working(after) != workers:
            assert time.monotonic() - began < 60, self.place.cluster.said()[-5000:]
            assert self.place.cluster.running, self.place.cluster.said()[-5000:]
            time.sleep(0.02)
        if self.place.sender.sending:
            self.place.recovered(after=self.place.generation() - 1)

    def _signal(self, machine: Machine, number: int) -> None:
        # `ip netns exec` becomes the command; its worker is in the same session.
        group = self.members[machine].pid
        with suppress(ProcessLookupError):
            os.killpg(group, number)


@pytest.fixture(scope="module")
def four() -> Iterator[list[Machine]]:
    need_machines()
    with machines(4) as made:
        yield made


@at_scales
def test_machines_that_come_go_die_and_hang_lose_double_and_change_nothing(
    scale: Scale,
    four: list[Machine],
    database: str,
    broker: Broker,
    topics: Topics,
    tmp_path: Path,
    record_property: Record,
) -> None:
    if "host=%2F" not in database and "host=/" not in database:
        pytest.skip("the database must be reached over a Unix socket")
    env = {"TIDEGATE_MATURITY_DAYS": "0.5"}
    traffic = scale.traffic(seeded())
    with (
        a_place(database, broker, topics, tmp_path, traffic, **env) as place,
        reaching(four, broker.address, tmp_path),
    ):
        crew = Crew(place, four)
        place.sender.start(traffic.messages, len(traffic) / (ROUND * scale.times))
        place.cluster.lead(four[0])
        place.wait_decided(1)
        for _ in range(scale.times):
            crew.join(3)
            crew.leave(2)
            crew.kill()
            crew.join(1)
            crew.hang()
            crew.leave(1)
        place.wait_all()
        name = "machines: 1, 4, 2, one dies, one hangs"
        place.finish(record_property, name, 5 * scale.times)
        assert place.cluster.said().count("is not heard of any more") >= scale.times

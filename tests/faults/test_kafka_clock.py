"""The machine's own clock is set, an hour ahead and an hour back, while a run goes on."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.faults.kafka_place import Record, a_place
from tests.faults.scales import Scale, long, seeded
from tests.kafka.broker import Broker
from tidegate.schema import HOUR, SECOND
from tidegate.settings import Topics

SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """A wall clock for the processes that are started with `env`, an offset from the true one."""

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            missing("a clock that can be set needs a C compiler")
        library, self._file = directory / "clock.so", directory / "offset"
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        self.set(0)
        self.env = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(self._file)}

    def set(self, off: int) -> None:
        """Seconds. The file is mapped by those that look at it, so it is written in place."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", off))


@pytest.mark.parametrize("hours", [1, -1], ids=["ahead", "back"])
@pytest.mark.parametrize("scale", [pytest.param(Scale(8_000, 3, 250, 2, 0), marks=long(300))])
def test_a_clock_that_is_set_stops_nothing(
    scale: Scale,
    hours: int,
    database: str,
    broker: Broker,
    topics: Topics,
    tmp_path: Path,
    record_property: Record,
) -> None:
    clock = Clock(tmp_path)
    traffic = scale.traffic(seeded())
    env = {**clock.env, "TIDEGATE_MATURITY_DAYS": "0.5"}
    with a_place(database, broker, topics, tmp_path, traffic, **env) as place:
        place.sender.start(traffic.messages, scale.pace)
        place.cluster.start(2)
        for number, off in enumerate([hours, 0] * scale.times):
            place.wait_decided(round(scale.rows * 0.7 * number / scale.times / 2) + 500)
            clock.set(off * HOUR // SECOND)
            time.sleep(1)  # what was under way has come
            place.recovered()
        what = f"the machine's clock set by {hours:+d} h and back"
        place.finish(record_property, what, 2 * scale.times)
        # Set back, it would keep Bytewax from calling a source for an hour: all start again.
        assert place.generation() == 1 + scale.times
        assert place.cluster.said().count("the machine's clock was set back") >= scale.times

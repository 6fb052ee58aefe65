"""librdkafka's mock cluster, from inside the wheel of confluent-kafka: a broker without Java.

It serves producing, consuming, groups and transactions in memory. It keeps nothing, knows no users
and no refusals, and makes any topic that somebody asks for: what is about that wants the real
`Broker`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Self

import confluent_kafka

_PRODUCER = 0  # RD_KAFKA_PRODUCER: the client that a mock cluster hangs on


class MockBroker:
    """One mock broker in this process; a context manager."""

    def __init__(self) -> None:
        lib = _library()
        self._client: int | None = None
        why = ctypes.create_string_buffer(512)
        conf = lib.rd_kafka_conf_new()
        lib.rd_kafka_conf_set(conf, b"log_level", b"0", why, len(why))  # else to standard error
        self._client = lib.rd_kafka_new(_PRODUCER, conf, why, len(why))
        if not self._client:
            raise RuntimeError(f"no mock broker: {why.value.decode()}")
        self._cluster = lib.rd_kafka_mock_cluster_new(self._client, 1)
        lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.address: str = lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def create_topic(self, name: str, partitions: int = 4) -> None:
        """As `Broker.create_topic`, without properties."""
        made = _library().rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
        if made != 0:
            raise RuntimeError(f"no mock topic {name}: error {made}")

    def create_topics(self, names: Iterable[str], partitions: int = 4) -> None:
        """Several, all alike."""
        for name in names:
            self.create_topic(name, partitions)

    def delete_topics(self, *names: str) -> None:
        """Nothing: they go with the broker."""

    def remove(self) -> None:
        """Ends it. May be called again."""
        client, self._client = self._client, None
        if client:
            _library().rd_kafka_mock_cluster_destroy(self._cluster)
            _library().rd_kafka_destroy(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


@cache
def _library() -> ctypes.CDLL:
    """The very library that confluent_kafka has loaded, with the types of what is called above."""
    folder = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    [path] = folder.glob("librdkafka-*.so*")
    lib = ctypes.CDLL(str(path))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    types = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
    }
    for name, (result, arguments) in types.items():
        getattr(lib, name).restype = result
        getattr(lib, name).argtypes = arguments
    return lib

"""`python -m bench.relay BROKERS FROM TO BYTES`: the least that a flow between two topics can be.

Every message is read and another one of so many bytes is sent, with the same promises and the same
patience as our own producer's. Nothing is decoded, kept or decided. Run by `bench.kafka`.
"""

from __future__ import annotations

import signal
import sys
import threading

from confluent_kafka import Consumer, Producer, TopicPartition


def main(brokers: str, source: str, target: str, size: int) -> None:
    """Until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    told = {"bootstrap.servers": brokers, "log_level": 0}
    consumer = Consumer({**told, "group.id": "relay", "enable.auto.commit": False})
    producer = Producer(
        {**told, "enable.idempotence": True, "linger.ms": 1, "compression.type": "lz4"}
    )
    partitions = consumer.list_topics(source, timeout=10).topics[source].partitions
    consumer.assign([TopicPartition(source, number, 0) for number in partitions])
    while not stop.is_set():
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            value = message.value() or b""
            # It begins with the payment's id, as a decision does.
            producer.produce(target, value[:size].ljust(size), message.key())
        producer.poll(0)
    producer.flush(10)
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))

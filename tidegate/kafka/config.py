"""What librdkafka is told: our settings as its properties."""

from __future__ import annotations

from typing import Any

from tidegate.settings import Kafka

# What a client is told unless TIDEGATE_KAFKA_CONFIG says otherwise.
_USUAL: dict[str, Any] = {
    "client.id": "tidegate",
    "group.id": "tidegate",
    # A broker that went away is asked again soon: payments wait for it.
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 2_000,
    # Connections that break are told of by the watchdog, in one line and not one a broker.
    "log.connection.close": False,
}

# Properties that only one kind of client understands; librdkafka warns of them in the other.
_CONSUMER_ONLY = ("group.id",)


def consumer(kafka: Kafka, **needed: Any) -> dict[str, Any]:
    """Properties of a consumer. needed: with underscores for points; what our promises rest on, so
    that TIDEGATE_KAFKA_CONFIG cannot change it."""
    return _joined(kafka, needed, _USUAL)


def producer(kafka: Kafka, **needed: Any) -> dict[str, Any]:
    """Properties of a producer or of an admin client; else as `consumer`."""
    usual = {name: value for name, value in _USUAL.items() if name not in _CONSUMER_ONLY}
    joined = _joined(kafka, needed, usual)
    return {name: value for name, value in joined.items() if name not in _CONSUMER_ONLY}


def _joined(kafka: Kafka, needed: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    own = {name.replace("_", "."): value for name, value in needed.items()}
    return {**usual, **kafka.config, "bootstrap.servers": ",".join(kafka.brokers), **own}

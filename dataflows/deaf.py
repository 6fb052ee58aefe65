"""Clients of Kafka that do not come back after an outage, and the end of a process that has one.

librdkafka since 2.13 may never connect again when the last answer before an outage named no broker,
as that of a cluster which shuts down in order does (its issue 5301; no setting helps). Only another
client gets through then, and that takes another process: what it had not finished is done again.
"""

from __future__ import annotations

import logging
import os
import time

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tidegate.kafka import config
from tidegate.kafka.heard import LIBRDKAFKA
from tidegate.settings import Kafka

log = logging.getLogger(__name__)

STUCK = 10.0  # seconds without an answer after which another client is made to ask
DEAF = 6.0  # seconds that others are answered and ours is not: thrice the longest pause between
# its attempts to connect, so that one that was only about to try again is left in peace
EXIT_CODE = 72

_PATIENCE = 3.0  # seconds that a broker has to answer


class Deafness:
    """What is known of one client. One thread may tell that it was not answered, others that it
    was."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._others_since: float | None = None  # another client is answered, and ours is not

    def answered(self) -> None:
        """It was: it is as well as others."""
        self._others_since = None

    def unanswered(self, seconds: float) -> None:
        """It was not, for so long now. Does not return where others are, and were for a while."""
        if seconds < STUCK:
            return
        others = reachable(self._kafka)
        since = self._others_since  # another thread may forget it meanwhile
        if not others:
            self._others_since = None
        elif since is None:
            self._others_since = time.monotonic()
        elif time.monotonic() - since >= DEAF:
            log.error("Kafka answers others and not this client, which has to be made anew")
            end()


def reachable(kafka: Kafka) -> bool:
    """Whether a client that has seen no outage gets an answer."""
    client = AdminClient(config.producer(kafka), logger=LIBRDKAFKA)
    try:
        client.list_topics(timeout=_PATIENCE)
    except KafkaException:
        return False
    return True


def end() -> None:
    """Ends the process, whatever it waits for just now; the supervisor starts all again."""
    os._exit(EXIT_CODE)

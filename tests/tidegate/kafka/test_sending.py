"""What others sent is sent on, or they are told that it was not: on a real broker."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.kafka.broker import Broker
from tests.kafka.fixtures import kafka_settings, make_topics, need_kafka
from tests.waiting import wait_until
from tidegate.kafka.sending import Sender
from tidegate.kafka.single import KafkaFailed


def test_after_an_outage_it_goes_on_with_another_client() -> None:
    """The one that saw it may not come back."""
    need_kafka()
    message = [(b"card", b"{}")]
    with Broker() as own:
        sender = Sender(kafka_settings(own, make_topics(own)), seconds=1.0)

        def taken() -> bool:
            with suppress(KafkaFailed):
                sender.payments(message, [None])
                return True
            return False

        wait_until(taken)
        before = sender._producer
        own.stop()
        with pytest.raises(KafkaFailed, match="did not answer within 1 seconds"):
            sender.payments(message, [None])
        assert sender._producer is not before
        own.start()
        wait_until(taken)

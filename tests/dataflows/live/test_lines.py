"""What a partition that is read says of itself."""

from __future__ import annotations

from collections import deque

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, Message

from dataflows.live.lines import waited


def message(kind: int, at: int) -> Message:
    return Message(topic="transactions", partition=0, offset=7, timestamp=(kind, at))


@pytest.mark.parametrize(
    ("fetched", "seconds"),
    [
        ([], 0),
        ([message(TIMESTAMP_CREATE_TIME, 90_000), message(TIMESTAMP_CREATE_TIME, 95_000)], 10),
        ([message(TIMESTAMP_CREATE_TIME, 101_000)], 0),  # by a clock that is ahead of ours
        ([message(TIMESTAMP_NOT_AVAILABLE, 0)], 0),
    ],
    ids=["none", "two", "ahead", "no time"],
)
def test_what_was_fetched_waits_since_its_first_message(
    fetched: list[Message], seconds: float
) -> None:
    assert waited(deque(fetched), now=100.0) == seconds

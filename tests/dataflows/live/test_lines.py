"""What a partition that is read says of itself."""

from __future__ import annotations

from collections import deque

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, Message

from dataflows.live import decoding
from dataflows.live.lines import Line, first, waited
from dataflows.live.pieces import Kind

PLACE = "transactions", 0


def message(kind: int, at: int, offset: int = 7) -> Message:
    topic, partition = PLACE
    return Message(
        topic=topic, partition=partition, offset=offset, value=b"{}", timestamp=(kind, at)
    )


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
    assert waited(first(deque(fetched)), now=100.0) == seconds


def handed_on(line: Line, *offsets: int) -> None:
    """Messages are fetched, decoded and taken."""
    for offset in offsets:
        line.arrived(message(TIMESTAMP_CREATE_TIME, 1000 * offset, offset))
    read = line.read(-1)
    assert read is not None
    line.ready += decoding.pieces([read])
    line.take()


def oldest(line: Line) -> int | None:
    return None if line.oldest is None else line.oldest.offset()


def test_what_is_handed_on_waits_until_it_has_landed() -> None:
    line = Line(Kind.PAYMENTS, *PLACE, 5, room=100)
    assert (line.undecided, oldest(line)) == (5, None)
    handed_on(line, 5, 6, 7)
    handed_on(line, 8)
    assert (line.handed, line.undecided, oldest(line)) == (9, 5, 5)
    line.hear({})
    assert (line.undecided, oldest(line)) == (5, 5)
    line.hear({PLACE: 7})
    assert (line.undecided, oldest(line)) == (7, 5)  # by what was decoded at once
    line.hear({PLACE: 8})
    assert (line.undecided, oldest(line)) == (8, 8)
    line.hear({PLACE: 9})
    assert (line.undecided, oldest(line)) == (9, None)


def test_what_the_broker_left_out_waits_for_nothing() -> None:
    line = Line(Kind.PAYMENTS, *PLACE, 5, room=100)
    handed_on(line, 5)
    line.ended(8)  # two messages that were not committed
    assert line.undecided == 5
    line.hear({PLACE: 6})
    assert line.undecided == 8


def test_what_an_earlier_run_handed_on_waits_too_once_it_is_told() -> None:
    line = Line(Kind.PAYMENTS, *PLACE, 9, room=100)
    line.hear({PLACE: 4})
    assert line.undecided == 4
    line.hear({PLACE: 9})
    assert line.undecided == 9

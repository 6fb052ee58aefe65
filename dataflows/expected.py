"""What a recovery store must hold of each step of the flow, for `dataflows.verify`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from dataflows import files, sink, steps
from dataflows.learning import readable
from dataflows.live import order
from dataflows.live.slots import ORDER, offsets_of, slot_names
from dataflows.routes import LEARNER, Routes
from dataflows.scoring import FLOW
from dataflows.store import partitions
from dataflows.verify import Kept
from models.portable import unpack


def expected(shards: int, slots: int = 0) -> Mapping[str, Kept]:
    """By the ids of the steps; of a flow over files and of one over Kafka, with so many slots."""
    keys = Routes(shards).keys
    kept = {
        "slots": Kept(frozenset(slot_names(slots)), _offsets),
        "order": Kept(frozenset([ORDER]), order.next_number),
        "stream": Kept(frozenset([files.PART]), files.next_number),
        "cards": Kept(frozenset(keys), _next("cards")),
        "terminals": Kept(frozenset(keys), _next("terminals")),
        "learn": Kept(frozenset([LEARNER]), _next("learn")),
        "challenge": Kept(None, readable),
        "score": Kept(frozenset(keys), _next("score")),
        "store": Kept(frozenset(partitions(keys)), sink.next_number),
    }
    return {f"{FLOW}.{step}": what for step, what in kept.items()}


def _offsets(state: bytes) -> None:
    offsets_of(state)  # a slot knows of no steps, but is damaged if it cannot be read


def _next(kind: str) -> Callable[[bytes], int]:
    return partial(_next_of, kind)


def _next_of(kind: str, state: bytes) -> int:
    return int(unpack(kind, steps.VERSION, state)["next"][0])

"""The store in memory answers as the database does."""

from __future__ import annotations

import numpy as np

from dataflows.memory import MemoryStore
from dataflows.messages import Outcome, nothing_served, order_of
from tests.dataflows.streams import START, decided, payments
from tidegate.schema import DAY, HOUR, Decisions


def filled(keep: int = 100 * DAY) -> tuple[MemoryStore, list[Decisions]]:
    """A store with payments at hours 0 to 5, written in two steps."""
    seen: list[Decisions] = []
    store = MemoryStore(["p", "q"], keep, seen.append)
    store.begin("p", None)
    for number, names in enumerate((["b", "a", "c"], ["f", "e", "d"])):
        hours = [0, 0, 2] if number == 0 else [5, 4, 1]
        batch = payments(names, [START + HOUR * hour for hour in hours])
        store.write("p", [Outcome(number, decisions=decided(batch, log_odds=number))])
    return store, seen


def test_payments_come_by_event_time_and_id() -> None:
    store, _ = filled()
    found = store.between(START - 1, START + DAY).result()
    assert found.transaction_id.tolist() == ["a", "b", "d", "c", "e", "f"]
    assert found.log_odds.tolist() == [0, 0, 1, 0, 1, 1]
    later = START + DAY
    assert store.by_ids(["f", "nobody", "a"], later).result().transaction_id.tolist() == ["a", "f"]


def test_a_span_is_open_at_its_start_and_closed_at_its_end() -> None:
    store, _ = filled()
    found = store.between(START, START + 4 * HOUR).result()
    assert found.transaction_id.tolist() == ["d", "c", "e"]
    assert len(store.between(START + 2 * HOUR, START + 2 * HOUR).result()) == 0


def test_only_what_every_partition_has_is_durable() -> None:
    store, _ = filled()
    assert store.durable() == -1
    store.write("q", [Outcome(0)])
    assert store.durable() == 0
    assert (store.settle("p"), store.settle("q")) == (1, 0)


def test_every_decision_is_told() -> None:
    _, seen = filled()
    assert [part.batch.transaction_id.tolist() for part in seen] == [
        ["b", "a", "c"],
        ["f", "e", "d"],
    ]


def test_what_nobody_asks_for_any_more_is_let_go() -> None:
    store, _ = filled(keep=2 * HOUR)
    assert store.by_ids(["a", "d"], START + DAY).result().transaction_id.tolist() == ["d"]


def test_nothing_is_a_good_answer() -> None:
    empty = nothing_served()
    assert len(empty) == 0
    assert empty.features.shape == (0, 0)


def test_names_are_ordered_by_their_bytes_as_in_the_database() -> None:
    names = ["é", "z", "Z", "a", "\U0001f600", "\uffff", "aa"]
    order = order_of(np.zeros(len(names), np.int64), names)
    assert [names[row] for row in order] == sorted(names, key=str.encode)
    assert names[order[-1]] == "\U0001f600"

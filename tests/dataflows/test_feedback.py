"""What labels and silence teach, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from dataflows.feedback import LabelBook, examples
from dataflows.messages import nothing_served
from tests.dataflows.streams import START, labels, payments, served
from tidegate.schema import DAY, HOUR, Examples, Labels, Served, View

UNKNOWN, GENUINE, FRAUD = (int(view) for view in View)
MATURITY = 7 * DAY

Told = list[tuple[str, int, bool, float]]


def told(found: Examples) -> Told:
    """The examples as (id, view before, fraud, weight for the learners)."""
    columns = found.before.tolist(), found.fraud.tolist(), found.weight.tolist()
    return list(zip(found.transaction_id, *columns, strict=True))


def learned(
    book: LabelBook,
    rows: Sequence[int],
    labelled: Served,
    matured: Served | None = None,
    now: int = START,
) -> Told:
    """What is told at `now`, in a tick of an hour."""
    silence = nothing_served() if matured is None else matured
    mature = now - HOUR - MATURITY
    found = examples(book, np.array(rows, np.int64), labelled, silence, now=now, mature=mature)
    assert len(found.features) == len(found)
    return told(found)


def test_labels_become_known_in_order_of_time_then_id_then_source() -> None:
    at = START + HOUR
    mixed = Labels.concat(
        [
            labels([("b", at, True), ("a", at, True)], "issuer"),
            labels([("a", at, True), ("c", at - 1, False)], "analyst"),
        ]
    )
    book = LabelBook(mixed)
    assert list(zip(book.labels.transaction_id, book.labels.source, strict=True)) == [
        ("c", "analyst"),
        ("a", "analyst"),
        ("a", "issuer"),
        ("b", "issuer"),
    ]
    backwards = LabelBook(mixed.take(np.array([3, 1, 2, 0])))
    assert backwards.labels.transaction_id.tolist() == book.labels.transaction_id.tolist()
    assert backwards.labels.source.tolist() == book.labels.source.tolist()


def test_each_label_finds_the_view_that_the_newest_one_before_it_left() -> None:
    book = LabelBook(
        labels(
            [
                ("a", START + 3, True),
                ("a", START + 1, True),
                ("a", START + 2, False),
                ("b", START + 4, False),
            ]
        )
    )
    assert book.labels.labelled_at.tolist() == [START + at for at in (1, 2, 3, 4)]
    assert book.before.tolist() == [UNKNOWN, FRAUD, GENUINE, UNKNOWN]


def test_at_equal_times_of_one_source_fraud_stands() -> None:
    book = LabelBook(labels([("a", START, True), ("a", START, False)]))
    assert book.labels.fraud.tolist() == [False, True]


def test_a_label_is_known_at_its_time_and_not_a_microsecond_earlier() -> None:
    book = LabelBook(labels([("a", START, True), ("b", START + 5, True), ("b", START + 6, False)]))
    assert [book.until(0, START + at) for at in (-1, 0, 4, 5, 6)] == [0, 1, 1, 2, 3]
    assert book.until(2, START + 5) == 2
    views = [book.views(["a", "b", "c"], START + at).tolist() for at in (-1, 0, 5, 6)]
    assert views == [
        [UNKNOWN, UNKNOWN, UNKNOWN],
        [FRAUD, UNKNOWN, UNKNOWN],
        [FRAUD, FRAUD, UNKNOWN],
        [FRAUD, GENUINE, UNKNOWN],
    ]
    assert len(LabelBook(labels([]))) == 0


def test_a_young_payments_label_is_for_the_profiles_alone() -> None:
    book = LabelBook(labels([("a", START, True), ("b", START, False)]))
    paid = served(payments(["a", "b"], [START - HOUR, START - 2 * HOUR]))
    assert learned(book, [0, 1], paid) == [("b", UNKNOWN, False, 0.0), ("a", UNKNOWN, True, 0.0)]


def test_a_mature_payment_is_learned_as_it_is_believed_to_be() -> None:
    book = LabelBook(labels([("a", START, True), ("b", START - DAY, True), ("b", START, False)]))
    matured = payments(["a", "b", "c"], [START - MATURITY] * 3)
    assert learned(book, [], nothing_served(), served(matured)) == [
        ("a", FRAUD, True, 1.0),
        ("b", GENUINE, False, 1.0),
        ("c", UNKNOWN, False, 1.0),  # silence is news to the profiles, too
    ]


def test_a_label_in_the_tick_of_maturity_is_counted_and_learned_once() -> None:
    book = LabelBook(labels([("a", START, True)]))
    paid = served(payments(["a"], [START - MATURITY]))
    assert learned(book, [0], paid, paid) == [("a", UNKNOWN, True, 0.0), ("a", FRAUD, True, 1.0)]


def test_a_label_after_the_tick_of_maturity_teaches_nothing_before_it_comes() -> None:
    book = LabelBook(labels([("a", START + 1, True)]))
    matured = served(payments(["a"], [START - MATURITY]))
    assert learned(book, [], nothing_served(), matured) == [("a", UNKNOWN, False, 1.0)]


def test_a_label_that_repeats_what_is_believed_teaches_nothing() -> None:
    book = LabelBook(labels([("a", START, True), ("a", START + 1, True)]))
    young, old = (served(payments(["a"], [START - age])) for age in (HOUR, MATURITY + 3 * HOUR))
    assert learned(book, [1], young) == []
    assert learned(book, [1], old) == []
    assert learned(book, [0, 1], young) == [("a", UNKNOWN, True, 0.0)]
    genuine = LabelBook(labels([("a", START, False)]))
    assert learned(genuine, [0], old) == []


def test_a_label_that_contradicts_corrects() -> None:
    book = LabelBook(labels([("a", START, True), ("a", START + 1, False)]))
    young, old = (served(payments(["a"], [START - age])) for age in (HOUR, MATURITY + 3 * HOUR))
    assert learned(book, [1], young) == [("a", FRAUD, False, 0.0)]
    assert learned(book, [1], old) == [("a", FRAUD, False, 1.0)]
    # Both in one tick keep their order; silence had counted the old one as genuine.
    assert learned(book, [0, 1], young) == [("a", UNKNOWN, True, 0.0), ("a", FRAUD, False, 0.0)]
    assert learned(book, [0, 1], old) == [("a", GENUINE, True, 1.0), ("a", FRAUD, False, 1.0)]


@pytest.mark.parametrize(
    ("age", "before", "weight"),
    [(MATURITY + HOUR - 1, UNKNOWN, 0.0), (MATURITY + HOUR, GENUINE, 1.0)],
)
def test_maturity_is_reached_at_its_time_and_not_a_microsecond_earlier(
    age: int, before: int, weight: float
) -> None:
    book = LabelBook(labels([("a", START, True)]))
    paid = served(payments(["a"], [START - age]))
    assert learned(book, [0], paid) == [("a", before, True, weight)]


def test_examples_come_by_event_time_and_id_in_bytes() -> None:
    book = LabelBook(labels([("late", START - HOUR, True), ("young", START, True)]))
    old = payments(["B", "a", "b"], [START - MATURITY + at for at in (9, 9, 8)])
    labelled = served(payments(["late", "young"], [START - MATURITY + 9, START - HOUR]))
    found = learned(book, [0, 1], labelled, served(old))
    assert [name for name, *_ in found] == ["b", "B", "a", "late", "young"]


def test_examples_carry_what_was_served() -> None:
    book = LabelBook(labels([("a", START, True)]))
    paid = served(payments(["x", "a"], [START - 2, START - 1], cards=["c1", "c2"]))
    paid.features[:] = [[1.0], [2.0]]
    paid.log_odds[:] = [10, 20]
    found = examples(
        book, np.array([0]), paid, nothing_served(), now=START, mature=START - MATURITY
    )
    assert found.card_token.tolist() == ["c2"]
    assert found.terminal_id.tolist() == ["terminal"]
    assert found.event_time.tolist() == [START - 1]
    assert found.log_odds.tolist() == [20]
    assert (found.features == 2.0).all()


def through_a_policy(paid: Served, declined: Sequence[bool], propensity: float) -> Served:
    share = np.full(len(paid), propensity, np.float32)
    return replace(paid, declined=np.array(declined), propensity=share)


def test_silence_says_nothing_of_a_declined_payment_and_a_label_does() -> None:
    book = LabelBook(labels([("labelled", START, True), ("late", START + 3 * HOUR, False)]))
    names = ["approved", "silent", "labelled", "late"]
    matured = served(payments(names, [START - MATURITY] * 4))
    matured = through_a_policy(matured, [False, True, True, True], 0.0)
    grown = learned(book, [], nothing_served(), matured)
    assert grown == [("approved", UNKNOWN, False, 1.0), ("labelled", FRAUD, True, 1.0)]
    later = START + 4 * HOUR
    assert learned(book, [1], matured.take(np.array([3])), now=later) == [
        ("late", UNKNOWN, False, 1.0)  # nothing was believed of it before
    ]


def test_a_control_group_stands_for_what_was_declined() -> None:
    book = LabelBook(labels([("labelled", START, True)]))
    names = ["control", "labelled", "silent"]
    matured = served(payments(names, [START - MATURITY] * 3))

    def stands(propensity: float) -> list[tuple[str, int]]:
        known = examples(
            book,
            np.zeros(0, np.int64),
            nothing_served(),
            through_a_policy(matured, [False, True, True], propensity),
            now=START,
            mature=START - HOUR - MATURITY,
        )
        return list(zip(known.transaction_id.tolist(), known.stands.tolist(), strict=True))

    assert stands(0.05) == [("control", 20), ("labelled", 0)]
    assert stands(0.0) == [("control", 1), ("labelled", 1)]  # nobody else stands for it
    assert stands(1.0) == [("control", 1), ("labelled", 1)]  # from before there were any

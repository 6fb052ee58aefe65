"""Every label is told exactly once, whichever of label and payment comes first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dataflows.live.book import Book
from dataflows.messages import nothing_served
from tests.dataflows.streams import START, labels, payments, served
from tidegate.schema import DAY, Examples, Served, View

LONG_AGO = -(2**62)
MATURITY = 7 * DAY


def at_start(*names: str) -> Served:
    return served(payments(names, [START] * len(names)))


def told(book: Book, there: Served, mature: int = LONG_AGO, passed: set[str] | None = None):
    """One round: what is open is asked for, and `there` is what the database has."""
    asked = book.ask()
    found = there.take(np.array([name in asked for name in there.transaction_id], np.bool_))
    return shown(book.tell(asked, passed or set(), found, nothing_served(), mature))


def shown(examples: Examples) -> list[tuple[str, int, bool, float]]:
    return [
        (str(name), int(before), bool(fraud), float(weight))
        for name, before, fraud, weight in zip(
            examples.transaction_id,
            examples.before,
            examples.fraud,
            examples.weight,
            strict=True,
        )
    ]


def test_a_label_of_a_stored_payment_is_told_once() -> None:
    book = Book(MATURITY)
    book.hear(labels([("a", START + DAY, True)]))
    assert told(book, at_start("a")) == [("a", View.UNKNOWN, True, 0.0)]
    book.hear(labels([("a", START + DAY, True)]))
    assert told(book, at_start("a")) == []


def test_a_label_waits_for_its_payment() -> None:
    book = Book(MATURITY)
    book.hear(labels([("a", START + DAY, True)]))
    assert told(book, nothing_served()) == []
    assert book.waiting == {"a"}
    assert told(book, at_start("a")) == []  # nobody asks for it before it has passed
    assert book.passing(["b", "a"]) == set()
    assert told(book, at_start("a")) == [("a", View.UNKNOWN, True, 0.0)]
    assert not book.waiting


def test_a_payment_that_passes_while_its_label_is_looked_for_is_found_the_next_time() -> None:
    book = Book(MATURITY)
    book.hear(labels([("a", START + DAY, True)]))
    asked = book.ask()
    passed = book.passing(["a"], asked)
    assert passed == {"a"}
    assert shown(book.tell(asked, passed, nothing_served(), nothing_served(), LONG_AGO)) == []
    assert told(book, at_start("a")) == [("a", View.UNKNOWN, True, 0.0)]


def test_the_newest_label_stands_whatever_the_order_they_come_in() -> None:
    book = Book(MATURITY)
    book.hear(labels([("a", START + 2 * DAY, False)]))
    book.hear(labels([("a", START + DAY, True)]))
    assert told(book, at_start("a")) == [("a", View.UNKNOWN, False, 0.0)]
    book.hear(labels([("a", START + 3 * DAY, True)]))
    assert told(book, at_start("a")) == [("a", View.GENUINE, True, 0.0)]


def test_of_two_labels_of_one_moment_fraud_stands() -> None:
    for rows in ([True, False], [False, True]):
        book = Book(MATURITY)
        book.hear(labels([("a", START, fraud) for fraud in rows]))
        assert told(book, at_start("a")) == [("a", View.UNKNOWN, True, 0.0)]


def test_a_payment_matures_with_the_view_that_was_told() -> None:
    book = Book(MATURITY)
    book.hear(labels([("fraud", START + DAY, True)]))
    told(book, at_start("fraud"))
    grown = at_start("fraud", "silent")
    assert shown(book.tell([], set(), nothing_served(), grown, LONG_AGO)) == [
        ("fraud", View.FRAUD, True, 1.0),
        ("silent", View.UNKNOWN, False, 1.0),
    ]


def test_a_label_after_maturity_corrects_what_silence_said() -> None:
    book = Book(MATURITY)
    book.hear(labels([("a", START + 9 * DAY, True)]))
    assert told(book, at_start("a"), mature=START) == [("a", View.GENUINE, True, 1.0)]


def test_what_can_change_nothing_any_more_is_forgotten() -> None:
    book = Book(MATURITY)
    book.hear(labels([("old", START, True), ("new", START + 39 * DAY, True)]))
    book.sweep(START + 41 * DAY)
    assert len(book) == 1
    assert book.ask() == ["new"]


def test_the_book_is_bounded_and_forgets_the_oldest() -> None:
    book = Book(MATURITY, most=2)
    book.hear(labels([(name, START, True) for name in ("a", "b", "c")]))
    assert book.ask() == ["b", "c"]


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("label"), st.sampled_from("abc"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("pay"), st.sampled_from("abc")),
        st.tuples(st.just("round")),
        st.tuples(st.just("save")),
    ),
    max_size=30,
)


@given(EVENTS)
def test_what_was_told_adds_up_to_what_stands(events: list[tuple]) -> None:
    """Counting every example as the profiles do leaves each payment with its newest label."""
    book = Book(MATURITY)
    there: set[str] = set()
    standing: dict[str, tuple[int, bool]] = {}
    view: dict[str, int] = {}

    def one_round() -> None:
        for name, before, fraud, _ in told(book, at_start(*sorted(there))):
            assert before == view.get(name, View.UNKNOWN)
            view[name] = int(fraud)

    for event in events:
        if event[0] == "label":
            _, name, day, fraud = event
            book.hear(labels([(name, START + day * DAY, fraud)]))
            standing[name] = max(standing.get(name, (-1, False)), (day, fraud))
        elif event[0] == "pay":
            there.add(event[1])
            book.passing([event[1]])
        elif event[0] == "round":
            one_round()
        else:
            again = Book(MATURITY)
            again.load(book.dump())
            book = again
    one_round()
    assert view == {name: int(fraud) for name, (_, fraud) in standing.items() if name in there}

"""Batches and examples made by hand, and streams of payments and labels made at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from models.features import WIDTH
from models.published import ONE
from tidegate.schema import DAY, HOUR, MINUTE, SECOND, Batch, Examples, View, texts

START = 17_622 * DAY  # 2018-04-01, a Sunday


@dataclass(frozen=True)
class Payment:
    """One transaction as a record."""

    name: str
    at: int = START
    minor: int = 1000
    currency: str = "EUR"
    card: str = "card"
    terminal: str = "terminal"


@dataclass(frozen=True)
class Known:
    """What became known of payments: each with the view held before and whether it is fraud."""

    outcomes: tuple[tuple[Payment, View, bool], ...]


@dataclass(frozen=True)
class Cut:
    """Here one batch ends and the next begins."""


Event = Payment | Known | Cut


def batch(payments: Sequence[Payment]) -> Batch:
    return Batch(
        transaction_id=texts([p.name for p in payments]),
        event_time=np.array([p.at for p in payments], np.int64),
        amount_minor=np.array([p.minor for p in payments], np.int64),
        currency=texts([p.currency for p in payments]),
        card_token=texts([p.card for p in payments]),
        terminal_id=texts([p.terminal for p in payments]),
        content=np.array([hash(p) % 2**63 for p in payments], np.uint64),
    )


def examples(
    outcomes: Sequence[tuple[Payment, View, bool]],
    *,
    features: Any = None,
    log_odds: Any = None,
    weight: Any = None,
) -> Examples:
    """Features and log-odds are 0 and weights 1 unless given."""
    rows = len(outcomes)
    payments = batch([payment for payment, _, _ in outcomes])
    return Examples(
        transaction_id=payments.transaction_id,
        event_time=payments.event_time,
        card_token=payments.card_token,
        terminal_id=payments.terminal_id,
        features=np.zeros((rows, WIDTH), np.float32) if features is None else features,
        log_odds=np.zeros(rows, np.int64) if log_odds is None else log_odds,
        before=np.array([view for _, view, _ in outcomes], np.int8),
        fraud=np.array([fraud for _, _, fraud in outcomes], bool),
        weight=np.ones(rows, np.float32) if weight is None else np.asarray(weight, np.float32),
        stands=np.ones(rows, np.int64),
    )


def scored(
    log_odds: Any,
    fraud: Any,
    at: int = START,
    *,
    before: View = View.UNKNOWN,
    features: Any = None,
) -> Examples:
    """Examples of which only the served log-odds (a probability's, as floats), the outcome and the
    payments' time matter."""
    payments = [Payment(f"t{row}", at) for row in range(len(fraud))]
    outcomes = [(p, before, bool(f)) for p, f in zip(payments, fraud, strict=True)]
    units = np.rint(np.asarray(log_odds, np.float64) * ONE).astype(np.int64)
    return examples(outcomes, log_odds=units, features=features)


_GAPS = (
    *(0, 0, 1, SECOND, 30 * SECOND),
    *(MINUTE, 2 * MINUTE, 9 * MINUTE, 10 * MINUTE, 11 * MINUTE),
    *(50 * MINUTE, HOUR, 2 * HOUR, 7 * HOUR, 23 * HOUR, DAY),
    *(2 * DAY, 7 * DAY, 12 * DAY, 29 * DAY, 32 * DAY),
    *(39 * DAY, 39 * DAY + 1, 41 * DAY, 75 * DAY, 120 * DAY),
)
_LATE = (0, 0, 0, 1, MINUTE, 3 * MINUTE, 15 * MINUTE, HOUR, 5 * HOUR, 20 * HOUR, DAY)
_AMOUNTS = (0, 1, 99, 100, 2500, 999_999, 1_000_000)
CURRENCIES = ("EUR", "EUR", "EUR", "USD", "JPY", "KWD")


class Story:
    """Puts a stream together event by event, keeping what is held of each payment."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._clock = START
        self._paid: list[Payment] = []
        self._views: dict[str, View] = {}

    def pay(self, gap: int, late: int, minor: int, currency: str, card: int, terminal: int) -> None:
        self._clock += gap
        payment = Payment(
            f"t{len(self._paid)}",
            self._clock - late,
            minor,
            currency,
            f"card-{card}",
            f"terminal-{terminal}",
        )
        self._paid.append(payment)
        self.events.append(payment)

    def know(self, outcomes: Sequence[tuple[int, bool]]) -> None:
        """Labels for payments, the given numbers of payments ago; some are repeats, some
        contradict what was known."""
        if not self._paid:
            return
        result = []
        for ago, fraud in outcomes:
            payment = self._paid[-1 - ago % len(self._paid)]
            result.append((payment, self._views.get(payment.name, View.UNKNOWN), fraud))
            self._views[payment.name] = View(fraud)
        self.events.append(Known(tuple(result)))

    def cut(self) -> None:
        self.events.append(Cut())


def streams() -> st.SearchStrategy[list[Event]]:
    """Streams of up to 60 events of few cards and terminals."""
    pay = st.tuples(
        st.sampled_from(_GAPS),
        st.sampled_from(_LATE),
        st.one_of(st.sampled_from(_AMOUNTS), st.integers(0, 1_000_000)),
        st.sampled_from(CURRENCIES),
        st.integers(0, 2),
        st.integers(0, 4),
    )
    know = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=4)
    step = st.one_of(pay, pay, pay, know, st.none())
    return st.lists(step, min_size=2, max_size=60).map(_told)


def _told(steps: Sequence[Any]) -> list[Event]:
    story = Story()
    for step in steps:
        if step is None:
            story.cut()
        elif isinstance(step, tuple):
            story.pay(*step)
        else:
            story.know(step)
    return story.events


def long_stream(seed: int, payments: int, *, cards: int = 6, terminals: int = 25) -> list[Event]:
    """A seeded stream with bursts, pauses, late rows, labels and cuts."""
    rng = np.random.default_rng(seed)
    story = Story()
    while len(story.events) < payments:
        dense = rng.random() < 0.9
        gap = int(rng.choice(_GAPS[:17] if dense else _GAPS))
        late = int(rng.choice(_LATE)) if rng.random() < 0.5 else 0
        story.pay(
            gap + int(rng.integers(0, HOUR)),
            late,
            int(rng.integers(0, 10 ** rng.integers(1, 7))),
            str(rng.choice(CURRENCIES)),
            int(rng.integers(cards)),
            int(rng.integers(terminals)),
        )
        if rng.random() < 0.1:
            story.know(
                [
                    (int(rng.integers(40)), bool(rng.random() < 0.4))
                    for _ in range(rng.integers(1, 9))
                ]
            )
        if rng.random() < 0.05:
            story.cut()
    return story.events


def paid(events: Sequence[Event]) -> Iterator[Payment]:
    return (event for event in events if isinstance(event, Payment))

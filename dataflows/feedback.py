"""What became known: late labels, and silence that has lasted long enough to count as genuine.

Time goes in ticks. At the end of a tick, labels that came in it meet the features that were served
for their payments, and payments that grew old in it without a label become genuine examples; within
a tick labels come before maturity. A label that contradicts what was believed corrects it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dataflows.memory import order_of
from models.features import WIDTH
from tidegate.schema import Bools, Examples, Ints, Labels, Served, View


class LabelBook:
    """All labels of a run from files, in the order in which they become known.

    Takes some 200 bytes a label. Labels of one transaction that come at the same moment are taken
    in the order of their sources' names; fraud stands if even that is equal.
    """

    def __init__(self, labels: Labels) -> None:
        order = sorted(
            range(len(labels)),
            key=lambda row: (
                labels.labelled_at[row],
                labels.transaction_id[row],
                labels.source[row],
                labels.fraud[row],
            ),
        )
        self.labels = labels.take(np.array(order, np.int64))
        self._first: dict[str, int] = {}
        latest: dict[str, bool] = {}
        views = []
        names = self.labels.transaction_id.tolist()
        for row, (name, fraud) in enumerate(zip(names, self.labels.fraud.tolist(), strict=True)):
            self._first.setdefault(name, int(self.labels.labelled_at[row]))
            views.append(int(latest[name]) if name in latest else int(View.UNKNOWN))
            latest[name] = fraud
        self.before = np.array(views, np.int8)  # the view each label found, maturity apart

    def __len__(self) -> int:
        return len(self.labels)

    def until(self, start: int, now: int) -> int:
        """One past the last label, from `start` on, that is known at `now`."""
        return start + int(np.searchsorted(self.labels.labelled_at[start:], now, side="right"))

    def labelled(self, ids: Sequence[str], now: int) -> Bools:
        """Whether each transaction has a label that is known at `now`."""
        first = self._first
        return np.array([first.get(name, now + 1) <= now for name in ids], np.bool_)


def examples(
    book: LabelBook, rows: Ints, labelled: Served, matured: Served, *, after: int, maturity: int
) -> Examples:
    """Examples of the labels `rows` of the book, whose payments are among `labelled`, and of the
    payments `matured`, none of which has a label; by event time and id.

    after: payments that were older than `maturity` at this time count as genuine already
    (microseconds)."""
    place = {name: row for row, name in enumerate(labelled.transaction_id.tolist())}
    found = np.array([place[name] for name in book.labels.transaction_id[rows]], np.int64)
    payments = labelled.take(found)
    before = book.before[rows].copy()
    silent = (before == View.UNKNOWN) & (payments.event_time + maturity <= after)
    before[silent] = View.GENUINE
    fraud = book.labels.fraud[rows]
    told = _examples(payments, before, fraud)
    # A label that says what is believed already teaches nothing new.
    told = told.take(told.before != told.fraud)
    silence = _examples(
        matured,
        np.full(len(matured), View.UNKNOWN, np.int8),
        np.zeros(len(matured), np.bool_),
    )
    parts = [part for part in (told, silence) if len(part)]
    if not parts:
        return told
    both = Examples.concat(parts)
    # Stable, so that labels of one payment keep their order.
    return both.take(order_of(both.event_time, both.transaction_id.tolist()))


def _examples(served: Served, before: Any, fraud: Bools) -> Examples:
    features = served.features
    if not len(served):
        features = np.zeros((0, WIDTH), np.float32)
    return Examples(
        served.transaction_id,
        served.event_time,
        served.card_token,
        served.terminal_id,
        features,
        served.log_odds,
        before,
        fraud,
        np.ones(len(served), np.float32),
    )

"""What became known: late labels, and silence that has lasted long enough to count as genuine.

Time goes in ticks. At the end of a tick, labels that came in it meet the payments they are about,
and payments that reached maturity in it without a label count as genuine; within a tick labels come
before maturity. A label that contradicts what was believed corrects it.

Silence says nothing of a declined payment: it never took place, so it counts as genuine or fraud
only once a label says so.

The profiles count a label at once. The learners wait for the payment's maturity, and learn then
from what is believed of it: frauds are known days before genuine payments are, and a model that
learned each when it is known would see, in its first week, nothing but fraud.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dataflows.messages import order_of
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
        self._of: dict[str, list[tuple[int, bool]]] = {}
        views = []
        names, times = self.labels.transaction_id.tolist(), self.labels.labelled_at.tolist()
        for name, at, fraud in zip(names, times, self.labels.fraud.tolist(), strict=True):
            earlier = self._of.setdefault(name, [])
            views.append(int(earlier[-1][1]) if earlier else int(View.UNKNOWN))
            earlier.append((at, fraud))
        self.before = np.array(views, np.int8)  # the view each label found, maturity apart

    def __len__(self) -> int:
        return len(self.labels)

    def until(self, start: int, now: int) -> int:
        """One past the last label, from `start` on, that is known at `now`."""
        return start + int(np.searchsorted(self.labels.labelled_at[start:], now, side="right"))

    def views(self, ids: Sequence[str], now: int) -> npt.NDArray[np.int8]:
        """What labels say of each transaction at `now`: a `View`, UNKNOWN without a label."""
        return np.array([self._view(name, now) for name in ids], np.int8)

    def _view(self, name: str, now: int) -> int:
        view = int(View.UNKNOWN)
        for at, fraud in self._of.get(name, ()):
            if at <= now:
                view = int(fraud)
        return view


def examples(
    book: LabelBook, rows: Ints, labelled: Served, matured: Served, *, now: int, mature: int
) -> Examples:
    """Examples of the labels `rows` of the book, whose payments are among `labelled`, and of the
    payments `matured`, by event time and id.

    now: the tick's end. mature: payments made by this time were mature before this tick, and
    what had no label counts as genuine since (both microseconds)."""
    place = {name: row for row, name in enumerate(labelled.transaction_id.tolist())}
    found = np.array([place[name] for name in book.labels.transaction_id[rows]], np.int64)
    payments = labelled.take(found)
    told = of_labels(payments, book.before[rows], book.labels.fraud[rows], mature)
    grown = of_maturity(matured, book.views(matured.transaction_id.tolist(), now))
    return together(told, grown)


def of_labels(
    payments: Served, before: npt.NDArray[np.int8], fraud: Bools, mature: int
) -> Examples:
    """Examples of labelled payments. before: the `View` that each label found, maturity apart;
    fraud: what it says; mature: payments made by then had matured before (microseconds)."""
    old = payments.event_time <= mature
    silent = old & (before == View.UNKNOWN) & ~payments.declined
    before = np.where(silent, np.int8(View.GENUINE), before)
    # A young payment's label is for the profiles alone; the learners get it when it is mature.
    told = _examples(payments, before, fraud, old)
    # A label that says what is believed already teaches nothing new.
    return told.take(told.before != told.fraud)


def of_maturity(matured: Served, views: npt.NDArray[np.int8]) -> Examples:
    """Examples of payments that reach maturity. views: what labels say of each, a `View`."""
    told = np.flatnonzero((views != View.UNKNOWN) | ~matured.declined)
    matured, views = matured.take(told), views[told]
    return _examples(matured, views, views == View.FRAUD, np.ones(len(matured), np.bool_))


def together(told: Examples, grown: Examples) -> Examples:
    """Examples of labels and of maturity, by event time and id."""
    parts = [part for part in (told, grown) if len(part)]
    if not parts:
        return told
    both = Examples.concat(parts)
    # Stable, so that labels of one payment keep their order and come before its maturity.
    return both.take(order_of(both.event_time, both.transaction_id.tolist()))


def _examples(
    served: Served, before: npt.NDArray[np.int8], fraud: Bools, learned: Bools
) -> Examples:
    features = served.features if len(served) else np.zeros((0, WIDTH), np.float32)
    return Examples(
        served.transaction_id,
        served.event_time,
        served.card_token,
        served.terminal_id,
        features,
        served.log_odds,
        before,
        fraud,
        learned.astype(np.float32),
        _stands(served),
    )


def _stands(served: Served) -> Ints:
    """For how many payments each stands: a control group for all that would have been declined,
    labelled or not, as those among them that have labels are no fair sample."""
    shown = served.propensity > 0
    alike = np.rint(1.0 / np.where(shown, served.propensity, 1.0)).astype(np.int64)
    return np.where(served.declined & shown & (alike > 1), 0, alike)

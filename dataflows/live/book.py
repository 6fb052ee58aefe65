"""What labels say of payments, as far as the stream has heard of it; and what was told on.

One entry a labelled payment, kept until nothing that the profiles remember of it could still
change. A label that comes before its payment waits here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dataflows.feedback import of_labels, of_maturity, together
from tidegate.schema import DAY, Examples, Labels, Served, View

# Entries; beyond, the oldest are forgotten before their time: a label that contradicts one of them
# is then taken for a payment's first.
MOST = 2_000_000

_AFTER_MATURITY = 33 * DAY  # by then the profiles have forgotten the payment (`models.profiles`)

_AT, _FRAUD, _TOLD = range(3)


class Book:
    """The standing label of each payment, and the view of it that was handed out.

    maturity: microseconds. A payment is named by its id alone.
    """

    def __init__(self, maturity: int, most: int = MOST) -> None:
        self._kept = maturity + _AFTER_MATURITY
        self._most = most
        self._entries: dict[str, list[int]] = {}  # labelled_at, fraud, told
        self.open: set[str] = set()  # heard of, and not looked for since
        self.waiting: set[str] = set()  # looked for and not there: their payments are to come
        self._swept = 0

    def __len__(self) -> int:
        return len(self._entries)

    def hear(self, labels: Labels) -> None:
        """Takes labels in: of each payment the newest stands, fraud if two are equally new."""
        rows = zip(
            labels.transaction_id.tolist(),
            labels.labelled_at.tolist(),
            labels.fraud.tolist(),
            strict=True,
        )
        for name, at, fraud in rows:
            entry = self._entries.get(name)
            if entry is None:
                self._entries[name] = [at, int(fraud), int(View.UNKNOWN)]
            elif (at, fraud) > (entry[_AT], bool(entry[_FRAUD])):
                entry[_AT], entry[_FRAUD] = at, int(fraud)
            else:
                continue
            if name not in self.waiting:
                self.open.add(name)
        while len(self._entries) > self._most:
            self._forget(next(iter(self._entries)))

    def passing(self, ids: Iterable[str], asked: Iterable[str] = ()) -> set[str]:
        """Notes payments that pass. Those whose labels waited for them are open again; gives
        those that are among `asked`, which somebody is just looking for."""
        wanted = self.waiting.union(asked)
        if not wanted:
            return set()
        found = wanted.intersection(ids)
        came = found & self.waiting
        self.waiting -= came
        self.open |= came
        return found - came

    def ask(self) -> list[str]:
        """The payments to look for, which are no longer open then."""
        asked = sorted(self.open)
        self.open = set()
        return asked

    def tell(
        self, asked: Sequence[str], passed: set[str], labelled: Served, matured: Served, mature: int
    ) -> Examples:
        """Examples of the payments asked for, of which `labelled` were found, and of those that
        reach maturity; from now on this is what was told.

        passed: those asked for that passed meanwhile and may be found next time. mature: payments
        made by then had matured before (microseconds)."""
        missing = set(asked).difference(labelled.transaction_id.tolist())
        self.open |= missing & passed
        self.waiting |= {name for name in missing - passed if name in self._entries}
        known = np.array([name in self._entries for name in labelled.transaction_id], np.bool_)
        labelled = labelled.take(known)
        entries = [self._entries[name] for name in labelled.transaction_id]
        before = np.array([entry[_TOLD] for entry in entries], np.int8)
        fraud = np.array([entry[_FRAUD] for entry in entries], np.bool_)
        for entry in entries:
            entry[_TOLD] = entry[_FRAUD]
        told = of_labels(labelled, before, fraud, mature)
        return together(told, of_maturity(matured, self._views(matured)))

    def sweep(self, now: int) -> None:
        """Forgets what is too old, once a day of the stream's time `now` (microseconds)."""
        if now // DAY == self._swept:
            return
        self._swept = now // DAY
        oldest = now - self._kept
        for name in [name for name, entry in self._entries.items() if entry[_AT] < oldest]:
            self._forget(name)

    def dump(self, asked: Sequence[str] = ()) -> dict[str, Any]:
        """Everything as plain values; what somebody is just looking for is open still."""
        return {
            "entries": [[name, *entry] for name, entry in self._entries.items()],
            "open": sorted(self.open.union(asked)),
            "waiting": sorted(self.waiting),
        }

    def load(self, value: dict[str, Any]) -> None:
        """What `dump` gave."""
        self._entries = {name: entry for name, *entry in value["entries"]}
        self.open, self.waiting = set(value["open"]), set(value["waiting"])

    def _views(self, payments: Served) -> npt.NDArray[np.int8]:
        unknown = [0, 0, int(View.UNKNOWN)]
        entries = [self._entries.get(name, unknown) for name in payments.transaction_id]
        return np.array([entry[_TOLD] for entry in entries], np.int8)

    def _forget(self, name: str) -> None:
        del self._entries[name]
        self.open.discard(name)
        self.waiting.discard(name)

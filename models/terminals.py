"""The profiles of terminals: how busy they are, and how much of what they did was fraud."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.features import TERMINAL, ratio
from models.profiles import Profiles
from tidegate.schema import Batch, Examples, Ints, Texts


class TerminalProfiles(Profiles):
    """The terminals of one shard. `observe` gives `features.TERMINAL`.

    Labels are counted by the day of the payment. As most come late, the windows of 1, 7 and 30
    days end where payments are old enough to be labelled, but a fraud reported early counts too.
    """

    KIND = "terminal-profiles"

    @classmethod
    def width(cls) -> int:
        """How many features `observe` gives."""
        return len(TERMINAL)

    def _names_in(self, batch: Batch) -> Texts:
        return batch.terminal_id

    def _labelled_names(self, examples: Examples) -> Texts:
        return examples.terminal_id

    def _read(
        self, entities: Ints, at: Ints, batch: Batch, amount: Ints, rows: Ints
    ) -> npt.NDArray[np.float64]:
        count, total = self._rings.read(entities, at)
        age, labelled, frauds = self._labels.read(entities, at)
        # One day more than the window, as the first and the last day are only parts of days.
        windows = [age < self._maturity + days + 1 for days in (1, 7, 30)]
        labelled_in = [(labelled * window).sum(axis=1) for window in windows]
        frauds_in = [(frauds * window).sum(axis=1) for window in windows]
        bad = frauds > 0
        any_bad = bad.any(axis=1)
        first = np.where(bad, age, -1).max(axis=1)
        last = np.where(bad, age, np.iinfo(np.int64).max).min(axis=1)
        since = (age >= 0) & (age < last[:, None])
        columns = (
            *count.T,
            ratio(amount[rows], total[:, 4], count[:, 4]),
            *(
                np.where(of > 0, part / np.maximum(of, 1), -1)
                for part, of in zip(frauds_in, labelled_in, strict=True)
            ),
            *frauds_in,
            labelled_in[2],
            np.where(any_bad, first, -1),
            np.where(any_bad, last, -1),
            np.where(any_bad, ((labelled - frauds) * since).sum(axis=1), -1),
        )
        return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)

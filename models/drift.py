"""Tells when a model errs more than it did, when its scores moved, and when payments changed.

Errors and scores are watched by ADWIN (Bifet, Gavaldà, *Learning from Time-Changing Data with
Adaptive Windowing*, SDM 2007) on a value an hour of event time. Payments are watched by the
population stability index of each feature's bins, the last week against the four weeks before
(Siddiqi, *Credit Risk Scorecards*, Wiley 2006: above .25 the population has changed).

All of it is of payments whose outcome is known, so it comes as late as labels do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from river.drift import ADWIN

from models.layout import Indices, Layout
from models.published import ONE
from models.quality import REACH, binned, log_loss
from tidegate.schema import DAY, HOUR, Bools, Ints

LOG_LOSS = "log_loss"
FRAUDS = "fraud_share"
QUANTILES = {"score_q50": 0.5, "score_q95": 0.95}
# What of the payments is watched: not what grows by itself, as the age of cards does.
WATCHED = (
    *("amount", "hour", "card_count_1d", "card_ratio_30d", "card_deviation", "card_idle_seconds"),
    *("card_new_terminal", "terminal_count_1d", "terminal_ratio_30d"),
)
MAJOR = 0.25  # of the population stability index
_WEEK, _BEFORE = 7, 28  # days that are compared
# Days until anything is told, as of a new stream everything changes; and until payments are
# compared whose features look back a whole month.
_WARM, _WARM_FEATURES = _WEEK + _BEFORE, _WEEK + _BEFORE + 30
_QUIET = _WEEK  # days for which what was told is not told again

_DELTA = 0.002  # ADWIN's own default: its bound on false alarms
_LEAST_ROWS = 50  # fewer payments than that wait for the next hour's
_MOST_HOURS = 4096  # hours since the last alarm that are remembered
# What is too little to be told, of the binary logarithm of the log loss and of the share of frauds,
# and of log-odds: these move by half as much with the hour of the day.
_LEAST_CHANGE = {LOG_LOSS: 0.1, FRAUDS: 1.0, "score_q50": 0.75, "score_q95": 0.75}

_LONG_AGO = -(2**32)
_BINS = 512  # of log-odds, for their quantiles


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something changed. value: for the log loss and the share of frauds new over old, for a
    quantile of the log-odds new less old, for a feature the population stability index."""

    signal: str  # log_loss, fraud_share, score_q50, score_q95 or psi_<feature>
    value: float
    examples: int  # payments that the new state rests on


class Drift:
    """Watches the payments that a model learns from, in the order of their event time; one that
    comes behind its hour is left out."""

    def __init__(self, layout: Layout) -> None:
        names = layout.features
        self._watched = [names.index(name) for name in WATCHED if name in names]
        self._names = [names[n] for n in self._watched]
        self._sizes = np.diff(layout.starts)[self._watched]
        self._ends = np.cumsum(self._sizes).tolist()
        # From the number of a weight to that of a bin, counted over the watched features.
        self._shift = np.array([0, *self._ends][:-1], np.int64) - layout.starts[self._watched]
        self._hour = -1
        self._rows = 0
        self._frauds = 0
        self._loss = 0  # in 1/ONE; like rows, frauds and scores of the running hour
        self._scores = np.zeros(_BINS, np.int64)
        self._series = {name: _Series(least) for name, least in _LEAST_CHANGE.items()}
        self._day = -1
        self._days = np.zeros((_WEEK + _BEFORE + 1, sum(self._sizes)), np.int64)
        self._held = 0  # whole days counted so far without a pause as long as all of them
        signals = [*_LEAST_CHANGE, *(f"psi_{name}" for name in self._names)]
        self._told = dict.fromkeys(signals, _LONG_AGO)  # the day of the last alarm

    def count(self, event_time: Ints, picked: Indices, log_odds: Ints, fraud: Bools) -> list[Alarm]:
        """Takes examples in, with the log-odds that were served; tells what changed."""
        alarms: list[Alarm] = []
        hours = event_time // HOUR
        for hour in np.unique(hours[hours >= self._hour]).tolist():
            alarms += [alarm for alarm in self._turn(hour) if self._tells(alarm)]
            rows = np.flatnonzero(hours == hour)
            self._add(picked[rows], log_odds[rows], fraud[rows])
        return alarms

    def _tells(self, alarm: Alarm) -> bool:
        if self._held < _WARM or self._day < self._told[alarm.signal] + _QUIET:
            return False
        self._told[alarm.signal] = self._day
        return True

    def _turn(self, hour: int) -> Iterator[Alarm]:
        if hour > self._hour and self._rows >= _LEAST_ROWS:
            rows = self._rows
            values = {
                LOG_LOSS: float(np.log2(max(self._loss, 1) / ONE / rows)),
                FRAUDS: float(np.log2((self._frauds + 0.5) / rows)),
            }
            values |= {name: self._quantile(share) for name, share in QUANTILES.items()}
            for name, value in values.items():
                change = self._series[name].add(value, rows)
                # That a model errs less is no alarm: it has learned.
                if change is not None and (name != LOG_LOSS or change.value > 0):
                    value = 2**change.value if name in (LOG_LOSS, FRAUDS) else change.value
                    yield Alarm(name, value, change.examples)
            self._rows, self._frauds, self._loss = 0, 0, 0
            self._scores[:] = 0
        self._hour = hour
        if hour * HOUR // DAY > self._day:
            yield from self._new_day(hour * HOUR // DAY)

    def _new_day(self, day: int) -> Iterator[Alarm]:
        slots = len(self._days)
        if self._day >= 0:
            self._held += 1
            if self._held >= _WARM_FEATURES:
                yield from self._compare()
        # A pause longer than what is compared is a new beginning.
        passed = day - self._day if self._day >= 0 else slots
        if passed >= slots:
            self._held = 0
        for skipped in range(max(self._day + 1, day - slots + 1), day + 1):
            self._days[skipped % slots] = 0
        self._day = day

    def _compare(self) -> Iterator[Alarm]:
        days = np.arange(self._day - _WEEK - _BEFORE + 1, self._day + 1) % len(self._days)
        before, week = self._days[days[:_BEFORE]].sum(0), self._days[days[_BEFORE:]].sum(0)
        for name, start, end in zip(self._names, [0, *self._ends], self._ends, strict=False):
            index = stability(before[start:end], week[start:end])
            if index > MAJOR:
                yield Alarm(f"psi_{name}", index, int(week[start:end].sum()))

    def _add(self, picked: Indices, log_odds: Ints, fraud: Bools) -> None:
        self._loss += int(log_loss(log_odds, fraud).sum())
        self._rows += len(fraud)
        self._frauds += int(fraud.sum())
        self._scores += np.bincount(binned(log_odds, _BINS), minlength=_BINS)
        counts = self._days[self._day % len(self._days)]
        bins = (picked[:, self._watched] + self._shift).ravel()
        # A missing value picks a number beyond all.
        counts += np.bincount(bins[bins < len(counts)], minlength=len(counts))

    def _quantile(self, share: float) -> float:
        """Of the hour's log-odds, interpolated evenly within a bin."""
        below = np.concatenate([[0], np.cumsum(self._scores)])
        edge = np.interp(share * below[-1], below, np.arange(_BINS + 1))
        return float(edge * (2 * REACH / _BINS) - REACH) / ONE

    def dump(self) -> dict[str, npt.NDArray[Any]]:
        """The whole state as plain arrays."""
        running = [self._hour, self._rows, self._frauds, self._loss]
        numbers = [*running, self._day, self._held]
        state: dict[str, npt.NDArray[Any]] = {
            "drift_numbers": np.array(numbers, np.int64),
            "drift_scores": self._scores,
            "drift_days": self._days,
            "drift_told": np.array(list(self._told.values()), np.int64),
        }
        return state | {f"drift_{name}": of.dump() for name, of in self._series.items()}

    def load(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """What `dump` gave."""
        *running, self._day, self._held = arrays["drift_numbers"].tolist()
        self._hour, self._rows, self._frauds, self._loss = running
        self._scores, self._days = arrays["drift_scores"], arrays["drift_days"]
        self._told = dict(zip(self._told, arrays["drift_told"].tolist(), strict=True))
        for name, series in self._series.items():
            series.load(arrays[f"drift_{name}"])


def stability(before: Ints, now: Ints) -> float:
    """Population stability index of counts by bin; an empty bin counts as half a payment."""
    p, q = (np.maximum(counts, 0.5) / max(counts.sum(), 1) for counts in (before, now))
    return float(np.sum((q - p) * np.log(q / p)))


@dataclass(frozen=True, slots=True)
class _Change:
    value: float
    examples: int


class _Series:
    """ADWIN over values of which it keeps those since the last change, so that its state can be
    made again from them."""

    def __init__(self, least: float) -> None:
        self._least = least
        self._adwin: Any = _adwin()
        self._values: list[tuple[float, int]] = []

    def add(self, value: float, rows: int) -> _Change | None:
        """Takes a value in, of so many payments; the change, if there was one that matters."""
        self._values.append((value, rows))
        self._adwin.update(value)
        if self._adwin.drift_detected:
            kept = max(1, int(self._adwin.width))
            old, new = self._values[:-kept], self._values[-kept:]
            self._start(new)
            change = _mean(new) - _mean(old) if old else 0.0
            if abs(change) >= self._least:
                return _Change(change, sum(rows for _, rows in new))
        elif len(self._values) > _MOST_HOURS:
            self._start(self._values[_MOST_HOURS // 2 :])
        return None

    def dump(self) -> npt.NDArray[np.float64]:
        return np.array(self._values, np.float64).reshape(-1, 2)

    def load(self, values: npt.NDArray[np.float64]) -> None:
        self._start([(value, int(rows)) for value, rows in values.tolist()])

    def _start(self, values: list[tuple[float, int]]) -> None:
        self._adwin, self._values = _adwin(), list(values)
        for value, _ in values:
            self._adwin.update(value)


def _adwin() -> Any:
    return ADWIN(delta=_DELTA, clock=1)  # type: ignore[no-untyped-call]


def _mean(values: list[tuple[float, int]]) -> float:
    return sum(value for value, _ in values) / len(values)

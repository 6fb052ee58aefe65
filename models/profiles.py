"""What cards and terminals did before: profiles, and the features drawn from them.

One object holds all entities of a shard in arrays, a row each. `observe` gives every payment the
features of its entity's past, then takes the payment in, row by row in the order of the batch, so
that several payments of one entity in one batch see each other just as they would apart.
`learn` takes in what became known of earlier payments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from models.entities import SMALLEST, Entities, in_rounds
from models.portable import BadState, pack, unpack
from models.rings import NEVER, LabelRing, Ring, Rings, grown
from tidegate.schema import DAY, HOUR, MINUTE, Batch, Examples, Features, Ints, Texts, View

OLDEST, VERSION = 1, 2  # since 2 they are compressed

_SLACK = 2  # days by which a row may be late and still find its daily bucket
_RINGS = (Ring(2 * MINUTE, 5), Ring(10 * MINUTE, 6), Ring(2 * HOUR, 12), Ring(DAY, 30 + _SLACK))
# 10 minutes, 1 hour, 1, 7 and 30 days: (ring, buckets)
_WINDOWS = ((0, 5), (1, 6), (2, 12), (3, 7), (3, 30))


class Profiles(ABC):
    """The profiles of one shard's entities of one kind."""

    KIND: ClassVar[str]
    # Arrays beside the rings, one row an entity: name, row shape, dtype, value of a new entity.
    EXTRA: ClassVar[tuple[tuple[str, tuple[int, ...], Any, int], ...]] = ()

    def __init__(self, maturity_days: float = 7.0) -> None:
        """maturity_days: after how long a payment without a label counts as genuine; the windows
        of labelled payments reach back that much further."""
        self._maturity = int(np.ceil(maturity_days))
        self._idle = (self._maturity + 32) * DAY  # after this nothing of an entity is left
        self._names = Entities()
        self._rings = Rings(_RINGS, _WINDOWS)
        self._labels = LabelRing(DAY, self._maturity + 32)
        self._last = np.zeros(0, np.int64)
        self._newest = 0
        self._extra = {
            name: np.zeros((0, *shape), dtype) for name, shape, dtype, _ in type(self).EXTRA
        }

    def __len__(self) -> int:
        """How many entities there are."""
        return len(self._names)

    def observe(self, batch: Batch, amount: Ints) -> Features:
        """Features of each row, (rows, features of this kind); then the rows are absorbed.

        amount: hundredths (`models.features.hundredths`).
        """
        entities = self._rows(self._names_in(batch))
        result = np.empty((len(batch), self.width()), np.float32)

        def step(rows: Ints) -> None:
            those, at = entities[rows], batch.event_time[rows]
            self._renew(those, at)
            read = self._read(those, at, batch, amount, rows)
            result[rows] = read
            self._rings.add(those, at, amount[rows])
            self._absorb(those, at, batch, amount, rows, read)
            self._last[those] = np.maximum(self._last[those], at)

        if len(batch):
            in_rounds(entities, step)
            self._newest = max(self._newest, int(batch.event_time.max()))
        return result

    def learn(self, examples: Examples) -> None:
        """Takes in what became known; an earlier view that it contradicts is taken back."""
        changed = examples.before != examples.fraud
        if not changed.any():
            return
        examples = examples.take(changed)
        new = (examples.before == View.UNKNOWN).astype(np.int64)
        frauds = examples.fraud.astype(np.int64) - (examples.before == View.FRAUD)
        entities = self._rows(self._labelled_names(examples))
        self._labels.change(entities, examples.event_time, new, frauds)
        np.maximum.at(self._last, entities, examples.event_time)

    def dump(self) -> bytes:
        """The whole state, portable and checksummed."""
        count = len(self._names)
        arrays: dict[str, npt.NDArray[Any]] = {
            f"names_{part}": array for part, array in self._names.dump().items()
        }
        arrays |= {name: array[:count] for name, array in self._arrays().items()}
        arrays["newest"] = np.array([self._newest, self._maturity], np.int64)
        # Most entities have few payments, so most of it says nothing: a seventh is left, and a
        # snapshot writes all of it.
        return pack(self.KIND, VERSION, arrays, small=True)

    @classmethod
    def load(cls, data: bytes, maturity_days: float = 7.0) -> Self:
        """What `dump` wrote. Raises BadState when the bytes are damaged, or were
        written with another maturity (its buckets have another layout)."""
        arrays = unpack(cls.KIND, VERSION, data, oldest=OLDEST)
        profiles = cls(maturity_days)
        newest, maturity = arrays.pop("newest").tolist()
        if maturity != profiles._maturity:
            raise BadState(
                f"these {cls.KIND} were kept with a maturity of {maturity} days, "
                f"not {profiles._maturity}"
            )
        profiles._newest = newest
        profiles._names = Entities.load(arrays.pop("names_bytes"), arrays.pop("names_lengths"))
        for name, array in arrays.items():
            profiles._set(name, array)
        for name in profiles._extra.keys() - arrays.keys():  # younger than the state
            fresh = grown(profiles._extra[name], len(profiles._last), profiles._fill(name))
            profiles._set(name, fresh)
        return profiles

    @classmethod
    @abstractmethod
    def width(cls) -> int:
        """How many features `observe` gives."""

    @abstractmethod
    def _names_in(self, batch: Batch) -> Texts: ...

    @abstractmethod
    def _labelled_names(self, examples: Examples) -> Texts: ...

    @abstractmethod
    def _read(
        self, entities: Ints, at: Ints, batch: Batch, amount: Ints, rows: Ints
    ) -> npt.NDArray[np.float64]: ...

    def _absorb(
        self,
        entities: Ints,
        at: Ints,
        batch: Batch,
        amount: Ints,
        rows: Ints,
        read: npt.NDArray[np.float64],
    ) -> None:
        """Takes in what is not in the rings. read: the features that the rows were given."""
        return  # nothing, for a kind without EXTRA

    def _renew(self, entities: Ints, at: Ints) -> None:
        """Entities idle for so long that every window is empty begin anew, so that forgetting them
        altogether (`_make_room`) changes nothing."""
        idle = entities[at - self._last[entities] > self._idle]
        if len(idle):
            for name, _, _, fresh in type(self).EXTRA:
                self._extra[name][idle] = fresh

    def _rows(self, names: Texts) -> Ints:
        known = len(self._names)
        rows = self._names.rows(names)
        if len(self._names) <= len(self._last):
            return rows
        self._make_room(len(self._names), known, len(names))
        return self._names.rows(names)

    def _make_room(self, needed: int, known: int, coming: int) -> None:
        """Forgets entities that nothing is left of; then makes room for those that remain and for
        as many again, and for `coming` that may be forgotten here and come back at once."""
        for name, array in self._arrays().items():
            fill = self._fill(name)
            self._set(name, grown(array, needed, fill))
        kept = self._newest - self._last <= self._idle + _SLACK * DAY
        kept[known:] = True  # the newcomers, which have no last payment yet
        if not kept.all():
            self._names.keep(kept)
            for name, array in self._arrays().items():
                self._set(name, array[kept])
        room = max(SMALLEST, 2 * len(self._names) + coming)
        for name, array in self._arrays().items():
            self._set(name, grown(array, room, self._fill(name)))

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {
            "stamps": self._rings.stamps,
            "counts": self._rings.counts,
            "sums": self._rings.sums,
            "label_stamps": self._labels.stamps,
            "labelled": self._labels.labelled,
            "frauds": self._labels.frauds,
            "last": self._last,
            **self._extra,
        }

    def _set(self, name: str, array: npt.NDArray[Any]) -> None:
        if name in self._extra:
            self._extra[name] = array
        elif name == "last":
            self._last = array
        elif name in ("label_stamps", "labelled", "frauds"):
            setattr(self._labels, name.removeprefix("label_"), array)
        else:
            setattr(self._rings, name, array)

    def _fill(self, name: str) -> int:
        fresh = {extra: value for extra, _, _, value in type(self).EXTRA}
        return NEVER if name in ("stamps", "label_stamps") else fresh.get(name, 0)

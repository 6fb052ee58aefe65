"""Simulated payments as whole numbers, before they get their text columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Self

import numpy as np
import numpy.typing as npt

from tidegate.schema import Bools, Ints
from tidegate.simulation.places import CHIP, CONTACTLESS, ONLINE, STRIPE, Kind
from tidegate.simulation.rolls import Floats, Integers, Rolls, whole
from tidegate.simulation.world import World

NO_DEVICE = -1
DEVICES = 1_000  # device numbers of a customer; the first two are their own


class Pattern(IntEnum):
    """What a payment is part of; everything from `TESTING` on is fraud."""

    ORDINARY = 0
    TRIP = 1  # a customer's payments in another city for some days
    VENDING = 2  # a genuine burst of small payments at one vending machine
    IN_APP = 3  # a genuine burst of small payments at one online merchant
    SHOPPING = 4  # a day of many and larger genuine payments
    TESTING = 10  # a stolen card is tried with small amounts, then emptied
    TERMINAL = 11  # a compromised terminal
    TAKEOVER = 12  # an account used by somebody else, from a new device and country
    SPIKE = 13  # a stolen card used for multiples of its usual amounts at unusual terminals


@dataclass(frozen=True, slots=True)
class Payments:
    """Equally long columns, one entry a payment."""

    time: Ints  # microseconds since the epoch, whole milliseconds
    amount: Ints  # minor units of the terminal's currency
    card: npt.NDArray[np.int64]
    terminal: npt.NDArray[np.int64]
    entry: npt.NDArray[np.int8]  # index into ENTRY_MODES
    device: Ints  # NO_DEVICE where there is none
    pattern: npt.NDArray[np.int8]  # Pattern
    episode: Ints  # tells the episodes of a pattern apart; 0 outside of episodes

    def __len__(self) -> int:
        return len(self.time)

    @property
    def fraud(self) -> Bools:
        """Which payments are fraud."""
        return self.pattern >= Pattern.TESTING

    def take(self, rows: Integers | Bools) -> Self:
        """The given rows, in the order given."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts (at least one), in order."""
        return replace(
            parts[0],
            **{
                f.name: np.concatenate([getattr(p, f.name) for p in parts])
                for f in fields(parts[0])
            },
        )

    def with_pattern(self, pattern: npt.NDArray[np.int8], episode: Ints) -> Self:
        """The same payments as parts of other patterns and episodes."""
        return replace(self, pattern=pattern, episode=episode)


def payments(
    world: World,
    time: Integers,
    card: Integers,
    terminal: Integers,
    euro_cents: Floats,
    *,
    entry: Integers,
    device: Integers,
    pattern: Pattern | npt.NDArray[np.int8],
    episode: Integers | int = 0,
) -> Payments:
    """Payments with amounts as their terminals ask for them: cash in whole tens, prices in the
    terminal's currency, at least one minor unit."""
    cents = euro_cents * world.terminals.rate[terminal]
    amount = whole(cents + 0.5)
    cash = world.terminals.kind[terminal] == Kind.ATM
    amount = np.where(cash, (amount // 1000 + 1) * 1000, np.maximum(amount, 1))
    n = len(time)
    return Payments(
        time=time // 1000 * 1000,
        amount=amount,
        card=card,
        terminal=terminal,
        entry=entry.astype(np.int8),
        device=device,
        pattern=np.broadcast_to(np.asarray(pattern, dtype=np.int8), n).copy(),
        episode=np.broadcast_to(np.asarray(episode, dtype=np.int64), n).copy(),
    )


def usual(world: World, card: Integers, rng: Rolls) -> Floats:
    """An amount of each card by its own mean and spread, in euro cents."""
    customers = world.customers
    return np.exp(customers.mu[card] + customers.sigma[card] * rng.standard_normal(len(card)))


def is_online(world: World, terminal: Integers) -> Bools:
    """Which payments are made without being there."""
    kind = world.terminals.kind[terminal]
    online: Bools = (kind == Kind.ECOM) | (kind == Kind.TRANSFER)
    return online


def entry_modes(
    world: World, terminal: Integers, rng: Rolls, stripe: float, contactless: float
) -> Integers:
    """How cards are read: a share by magnetic stripe, a share contactless, the others by chip."""
    u = rng.random(len(terminal))
    present = np.where(u < stripe, STRIPE, np.where(u < stripe + contactless, CONTACTLESS, CHIP))
    return np.where(is_online(world, terminal), ONLINE, present).astype(np.int64)


def own_devices(world: World, card: Integers, terminal: Integers, rng: Rolls) -> Integers:
    """The device of online payments: mostly a customer's first, sometimes a new one."""
    u = rng.random(len(card))
    newer = 2 + whole(rng.random(len(card)) * (DEVICES - 2))
    number = np.where(u < 0.75, 0, np.where(u < 0.985, 1, newer))
    return np.where(is_online(world, terminal), card * DEVICES + number, NO_DEVICE)

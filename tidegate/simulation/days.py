"""A simulation, day by day: a day's payments need nothing but the world, the seed and the date."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

import numpy as np

from tidegate import content
from tidegate.schema import Batch, Hashes, Labels, Texts, nothing, texts
from tidegate.simulation import labels as knowledge
from tidegate.simulation.fraud import SPAN, compromise, episodes
from tidegate.simulation.genuine import everyday, look_alikes, midnight
from tidegate.simulation.payments import DEVICES, NO_DEVICE, Payments
from tidegate.simulation.places import ENTRY_MODES
from tidegate.simulation.world import World, content_of

_ENTRY_MODES = texts(ENTRY_MODES)


@dataclass(frozen=True)
class Day:
    """One simulated day (UTC).

    `payments` are its payments as whole numbers, in the order of (time, transaction id), with the
    pattern that each is part of: the truth that no scorer sees.
    """

    world: World
    seed: int
    date: date
    payments: Payments

    def __len__(self) -> int:
        return len(self.payments)

    @cached_property
    def transaction_id(self) -> Texts:
        """The payments' ids, such as `sim-7-d20260101-n00000042`: unique within a seed, and in
        time order. Letters keep the digits apart, so that none is taken for a card number."""
        prefix = f"sim-{self.seed}-d{self.date:%Y%m%d}-n"
        return texts([f"{prefix}{number:08d}" for number in range(len(self))])

    @cached_property
    def labels(self) -> Labels:
        """All labels that this day's payments will ever get, in the order of labelled_at."""
        return knowledge.labels(
            self.world, self.seed, self.date.toordinal(), self.payments, self.transaction_id
        )

    def batch(self, *, content: bool = True) -> Batch:
        """The payments as a scorer sees them. Without `content` that column is 0, which
        saves a third of the time."""
        paid, customers, terminals = self.payments, self.world.customers, self.world.terminals
        where = paid.terminal
        optional = {
            "merchant_id": terminals.merchant_id[where],
            "customer_id": customers.customer_id[paid.card],
            "mcc": terminals.mcc[where],
            "merchant_country": terminals.merchant_country[where],
            "pos_entry_mode": _ENTRY_MODES[paid.entry],
            "channel": terminals.channel[where],
            "device_id": _device_ids(paid),
            "latitude": terminals.latitude[where],
            "longitude": terminals.longitude[where],
        }
        batch = Batch(
            transaction_id=self.transaction_id,
            event_time=paid.time,
            amount_minor=paid.amount,
            currency=terminals.currency[where],
            card_token=customers.card_token[paid.card],
            terminal_id=terminals.terminal_id[where],
            content=np.zeros(len(self), dtype=np.uint64),
            # As the edge has it: a field that no row has is no column.
            extras={n: c for n, c in optional.items() if any(v is not None for v in c)},
        )
        return replace(batch, content=_content(self.world, paid, batch)) if content else batch


def days(world: World, start: date, days: int, seed: int) -> Iterator[Day]:
    """Simulates day after day, holding no more than one day and the fraud episodes that go on.

    A day is the same whatever day the simulation starts on, so a long simulation may be cut into
    shorter ones. Ids are unique within a seed: simulate a span of time only once with it. Raises
    ValueError for a negative number of days or a seed that is not from 0 to 2**32 - 1.
    """
    if days < 0:
        raise ValueError(f"days must not be negative, not {days}")
    first = start.toordinal()
    running = [episodes(world, seed, began) for began in range(first - SPAN + 1, first)]
    for day in range(first, first + days):
        running.append(episodes(world, seed, day))
        begun = Payments.concat(running)
        today = (begun.time >= midnight(day)) & (begun.time < midnight(day + 1))
        genuine = Payments.concat([everyday(world, seed, day), look_alikes(world, seed, day)])
        paid = Payments.concat([compromise(world, seed, day, genuine), begun.take(today)])
        order = np.argsort(paid.time, kind="stable")
        yield Day(world, seed, date.fromordinal(day), paid.take(order))
        running = running[1:]


def as_known(simulated: Iterable[Day], *, content: bool = True) -> Iterator[tuple[Batch, Labels]]:
    """Each day's payments with the labels that become known on that day, of whatever day's
    payments; then once no payments, with all labels that come later. Labels are in the order of
    (labelled_at, transaction_id, source)."""
    waiting: list[Labels] = []
    none: Batch | None = None
    for day in simulated:
        batch = day.batch(content=content)
        later = Labels.concat([*waiting, day.labels])
        known = later.labelled_at < midnight(day.date.toordinal() + 1)
        yield batch, knowledge.in_order(later.take(known))
        waiting, none = [later.take(~known)], batch.take(np.zeros(0, dtype=np.int64))
    if none is not None:
        yield none, knowledge.in_order(waiting[0])


def _device_ids(paid: Payments) -> Texts:
    ids = nothing(len(paid))
    rows = np.flatnonzero(paid.device != NO_DEVICE)
    card, number = np.divmod(paid.device[rows], DEVICES)
    ids[rows] = texts(
        [f"dev_{c:06d}_{k:03d}" for c, k in zip(card.tolist(), number.tolist(), strict=True)]
    )
    return ids


def _content(world: World, paid: Payments, batch: Batch) -> Hashes:
    """The hash that the edge (`tidegate.checks`) gives to the same rows."""
    hashes = world.customers.content[paid.card] + world.terminals.content[paid.terminal]
    hashes += content.of_ints("event_time", batch.event_time)
    hashes += content.of_ints("amount_minor", batch.amount_minor)
    hashes += content_of({"pos_entry_mode": _ENTRY_MODES})[paid.entry]
    hashes += content_of({"transaction_id": batch.transaction_id})
    if "device_id" in batch.extras:
        hashes += content_of({"device_id": batch.extras["device_id"]})
    return content.mix(hashes)

"""Genuine payments of a day: everyday ones, trips, and what only looks like fraud."""

from __future__ import annotations

from datetime import date

import numpy as np

from tidegate.schema import DAY, HOUR, MINUTE
from tidegate.simulation.payments import (
    Pattern,
    Payments,
    entry_modes,
    is_online,
    own_devices,
    payments,
    usual,
)
from tidegate.simulation.places import (
    IN_PERSON_HOURS,
    MONTHS,
    ONLINE_HOURS,
    UTC_OFFSETS,
    WEEKDAYS,
    Kind,
)
from tidegate.simulation.rolls import (
    Integers,
    Part,
    Rolls,
    arrivals,
    look_up,
    repeated,
    rolls,
    spread,
    whole,
)
from tidegate.simulation.world import FAVOURITES, FAVOURITES_ONLINE, World

_TRIPS_A_DAY = 0.002  # of a customer
_TRIP_DAYS = 12  # the longest
_ATM, _TRANSFER, _VENDING = 0.03, 0.02, 0.06  # shares of payments
# Episodes of a day, as shares of its payments.
_VENDING_BURSTS, _IN_APP_BURSTS, _SHOPPING_DAYS = 0.0006, 0.0006, 0.0008
_EPOCH = date(1970, 1, 1).toordinal()


def midnight(day: int) -> int:
    """When a day (a proleptic ordinal) begins, in microseconds since 1970-01-01 UTC."""
    return (day - _EPOCH) * DAY


def everyday(world: World, seed: int, day: int) -> Payments:
    """The payments that customers make on a day out of habit, where they are on that day."""
    rng = rolls(seed, Part.GENUINE, day)
    customers, terminals = world.customers, world.terminals
    when = date.fromordinal(day)
    rhythm = WEEKDAYS[when.weekday()] * MONTHS[when.month - 1]
    card = np.repeat(np.arange(len(world)), rng.poisson(customers.rate * rhythm))
    n = len(card)
    here = customers.home.astype(np.int64)
    away = whereabouts(world, seed, day)
    here = np.where(away >= 0, away, here)[card]
    travels = (away >= 0)[card]

    u, v = rng.random(n), rng.random(n)
    kind = rng.random(n)
    online = kind < customers.online[card] * np.where(travels, 0.4, 1.0)
    habit = rng.random(n)
    favourite = customers.favourites[card, whole(u**2 * FAVOURITES)].astype(np.int64)
    terminal = np.where((habit < 0.7) & ~travels, favourite, terminals.pick(Kind.SHOP, here, v**2))
    rows = np.flatnonzero(online)
    bought = customers.favourites_online[card[rows], whole(u[rows] * FAVOURITES_ONLINE)]
    seller = look_up(world.anywhere, u[rows])
    terminal[rows] = np.where(
        habit[rows] < 0.6, bought, terminals.pick(Kind.ECOM, seller, v[rows] ** 2)
    )
    # The other kinds of terminals share the upper end of the same uniform numbers.
    at = 1.0
    for other, share in ((Kind.ATM, _ATM), (Kind.TRANSFER, _TRANSFER), (Kind.VENDING, _VENDING)):
        rows = np.flatnonzero((kind >= at - share) & (kind < at))
        at -= share
        place = customers.home[card[rows]].astype(np.int64)
        place = place if other == Kind.TRANSFER else here[rows]
        terminal[rows] = terminals.pick(other, place, v[rows] ** 2)

    return payments(
        world,
        midnight(day) + time_of_day(world, terminal, here, rng),
        card,
        terminal,
        usual(world, card, rng) * terminals.factor[terminal],
        entry=entry_modes(world, terminal, rng, stripe=0.03, contactless=0.65),
        device=own_devices(world, card, terminal, rng),
        pattern=np.where(travels, np.int8(Pattern.TRIP), np.int8(Pattern.ORDINARY)),
    )


def time_of_day(world: World, terminal: Integers, city: Integers, rng: Rolls) -> Integers:
    """Microseconds since midnight UTC, by the daily rhythm of the city that the payer is in."""
    u = rng.random(len(terminal))
    online = is_online(world, terminal)
    hour = np.where(online, look_up(ONLINE_HOURS, u), look_up(IN_PERSON_HOURS, u))
    local = hour * HOUR + whole(rng.random(len(terminal)) * HOUR)
    return (local - UTC_OFFSETS[city] * HOUR) % DAY


def whereabouts(world: World, seed: int, day: int) -> Integers:
    """The city that each customer travels in on a day, -1 for those at home."""
    away = np.full(len(world), -1, dtype=np.int64)
    rate = _TRIPS_A_DAY * len(world)
    for began in range(day - _TRIP_DAYS + 1, day + 1):
        n = arrivals(rate, 0.5, began)
        rng = rolls(seed, Part.TRIPS, began)
        customer = whole(rng.random(n) * len(world))
        city = look_up(world.anywhere, rng.random(n))
        days = spread(rng, 2, _TRIP_DAYS, n)
        still = (began + days > day) & (city != world.customers.home[customer])
        away[customer[still]] = city[still]
    return away


def look_alikes(world: World, seed: int, day: int) -> Payments:
    """Genuine episodes of a day that a naive rule would take for fraud."""
    rng = rolls(seed, Part.LOOK_ALIKES, day)
    return Payments.concat(
        [
            _burst(world, Pattern.VENDING, _VENDING_BURSTS, rng, day),
            _burst(world, Pattern.IN_APP, _IN_APP_BURSTS, rng, day),
            _shopping(world, rng, day),
        ]
    )


def _burst(world: World, pattern: Pattern, share: float, rng: Rolls, day: int) -> Payments:
    """Three to eight small payments within minutes at one terminal."""
    n = arrivals(share * world.payments_a_day, pattern / 10, day)
    who = whole(rng.random(n) * len(world))
    kind = Kind.VENDING if pattern == Pattern.VENDING else Kind.ECOM
    city = world.customers.home[who].astype(np.int64)
    where = world.terminals.pick(kind, city, rng.random(n))
    begin = np.minimum(time_of_day(world, where, city, rng), DAY - 15 * MINUTE - 1)
    episode, _ = repeated(spread(rng, 3, 8, n))
    card, terminal = who[episode], where[episode]
    return payments(
        world,
        midnight(day) + begin[episode] + whole(rng.random(len(episode)) * 15 * MINUTE),
        card,
        terminal,
        60.0 + 500.0 * rng.random(len(episode)) ** 2,
        entry=entry_modes(world, terminal, rng, stripe=0.0, contactless=0.9),
        device=own_devices(world, card, terminal, rng),
        pattern=pattern,
        episode=episode_ids(day, pattern, episode),
    )


def _shopping(world: World, rng: Rolls, day: int) -> Payments:
    """Five to twelve larger payments within hours, at terminals all over the city and online."""
    n = arrivals(_SHOPPING_DAYS * world.payments_a_day, 0.9, day)
    who = whole(rng.random(n) * len(world))
    online = rng.random(n) < 0.4
    begin = spread(rng, 7 * HOUR, 17 * HOUR, n)
    episode, _ = repeated(spread(rng, 5, 12, n))
    rows = len(episode)
    card = who[episode]
    city = world.customers.home[card].astype(np.int64)
    seller = look_up(world.anywhere, rng.random(rows))
    u = rng.random(rows)
    terminal = np.where(
        online[episode],
        world.terminals.pick(Kind.ECOM, seller, u),
        world.terminals.pick(Kind.SHOP, city, u),
    )
    return payments(
        world,
        midnight(day) + begin[episode] + whole(rng.random(rows) * 6 * HOUR),
        card,
        terminal,
        usual(world, card, rng) * (1.5 + 3.0 * rng.random(rows)),
        entry=entry_modes(world, terminal, rng, stripe=0.03, contactless=0.4),
        device=own_devices(world, card, terminal, rng),
        pattern=Pattern.SHOPPING,
        episode=episode_ids(day, Pattern.SHOPPING, episode),
    )


def episode_ids(day: int, pattern: Pattern, episode: Integers) -> Integers:
    """Numbers that tell the episodes of all days and patterns apart."""
    return (day * 100 + pattern) * 1_000_000 + episode + 1

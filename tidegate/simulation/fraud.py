"""Fraud: episodes that begin on a day, and terminals that are compromised on a day."""

from __future__ import annotations

import numpy as np

from tidegate.schema import DAY, HOUR, MINUTE
from tidegate.simulation.genuine import episode_ids, midnight
from tidegate.simulation.payments import (
    DEVICES,
    NO_DEVICE,
    Pattern,
    Payments,
    entry_modes,
    is_online,
    payments,
    usual,
)
from tidegate.simulation.places import CITIES, UTC_OFFSETS, Kind
from tidegate.simulation.rolls import (
    Floats,
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
from tidegate.simulation.world import World

# Episodes that begin on a day, as shares of its payments.
_TESTING, _TAKEOVER, _SPIKE = 0.00022, 0.00030, 0.00030
_COMPROMISED = 0.0004  # shops and sellers newly compromised on a day, as a share of all
_COMPROMISED_DAYS = 28  # the longest
SPAN = 4  # days that an episode of a card may touch, the day it begins on included
_SPIKE_DAYS = 3


def episodes(world: World, seed: int, day: int) -> Payments:
    """The fraudulent payments of all card episodes that begin on a day; they may end up to
    `SPAN` - 1 days later. In no order."""
    rng = rolls(seed, Part.FRAUD, day)
    return Payments.concat(
        [_testing(world, rng, day), _takeover(world, rng, day), _spike(world, rng, day)]
    )


def _victims(
    world: World, rng: Rolls, day: int, pattern: Pattern, share: float
) -> tuple[int, Integers]:
    n = arrivals(share * world.payments_a_day, (pattern - 9) / 5, day)
    return n, whole(rng.random(n) * len(world))


def _testing(world: World, rng: Rolls, day: int) -> Payments:
    """Four to ten small online payments within 12 minutes, each at another terminal than the one
    before, then one to three large ones within the next hour and a half."""
    n, who = _victims(world, rng, day, Pattern.TESTING, _TESTING)
    small = spread(rng, 4, 10, n)
    episode, place = repeated(small + spread(rng, 1, 3, n))
    rows = len(episode)
    first, count = world.terminals.of(Kind.ECOM)
    terminal = first + (whole(rng.random(n) * count)[episode] + place) % count
    tests = place < small[episode]
    begin = spread(rng, 0, DAY - 1, n)[episode]
    u = rng.random(rows)
    after = np.where(tests, u * 12 * MINUTE, (15 + 75 * u) * MINUTE)
    card = who[episode]
    large = usual(world, card, rng) * (2.0 + 10.0 * rng.random(rows))
    device = rng.random(n) * (DEVICES - 2)
    return payments(
        world,
        midnight(day) + begin + whole(after),
        card,
        terminal,
        np.where(tests, 50.0 + 450.0 * rng.random(rows), large),
        entry=entry_modes(world, terminal, rng, stripe=0.0, contactless=0.0),
        device=card * DEVICES + 2 + whole(device)[episode],
        pattern=Pattern.TESTING,
        episode=episode_ids(day, Pattern.TESTING, episode),
    )


def _takeover(world: World, rng: Rolls, day: int) -> Payments:
    """Three to eight large transfers and online payments within six hours, mostly begun at night,
    from one new device, to another country than the customer's."""
    n, who = _victims(world, rng, day, Pattern.TAKEOVER, _TAKEOVER)
    episode, _ = repeated(spread(rng, 3, 8, n))
    rows = len(episode)
    card = who[episode]
    home = world.customers.home[who].astype(np.int64)
    night = 22 * HOUR + whole(rng.random(n) * 6 * HOUR)
    anytime = whole(rng.random(n) * DAY)
    local = np.where(rng.random(n) < 0.7, night, anytime)
    begin = (local - UTC_OFFSETS[home] * HOUR) % DAY
    city = _abroad(world, home, rng.random(n))
    u, transfer = rng.random(rows), rng.random(rows) < 0.4
    terminal = np.where(
        transfer,
        world.terminals.pick(Kind.TRANSFER, city[episode], u),
        world.terminals.pick(Kind.ECOM, city[episode], u),
    )
    times = np.where(transfer, 8.0, 3.0) * np.exp(0.6 * rng.standard_normal(rows))
    device = rng.random(n) * (DEVICES - 2)
    return payments(
        world,
        midnight(day) + begin[episode] + whole(rng.random(rows) * 6 * HOUR),
        card,
        terminal,
        np.exp(world.customers.mu[card]) * times,
        entry=entry_modes(world, terminal, rng, stripe=0.0, contactless=0.0),
        device=card * DEVICES + 2 + whole(device)[episode],
        pattern=Pattern.TAKEOVER,
        episode=episode_ids(day, Pattern.TAKEOVER, episode),
    )


def _abroad(world: World, home: Integers, u: Floats) -> Integers:
    """A city in another country than the home city's."""
    names = [city.country for city in CITIES[: world.cities]]
    countries = np.array([names.index(name) for name in names], dtype=np.int64)
    city = whole(u * world.cities)
    for _ in range(world.cities):
        city = np.where(countries[city] == countries[home], (city + 1) % world.cities, city)
    return city


def _spike(world: World, rng: Rolls, day: int) -> Payments:
    """Four to twelve payments within three days, of two to six times the card's usual amount, at
    terminals the card does not know."""
    n, who = _victims(world, rng, day, Pattern.SPIKE, _SPIKE)
    begin = spread(rng, 0, DAY - 1, n)
    lasts = (0.25 + (_SPIKE_DAYS - 0.25) * rng.random(n)) * DAY
    factor = 2.0 + 4.0 * rng.random(n)
    episode, _ = repeated(spread(rng, 4, 12, n))
    rows = len(episode)
    card = who[episode]
    city = look_up(world.anywhere, rng.random(n))[episode]
    u = rng.random(rows)
    terminal = np.where(
        rng.random(rows) < 0.35,
        world.terminals.pick(Kind.ECOM, look_up(world.anywhere, rng.random(rows)), u),
        world.terminals.pick(Kind.SHOP, city, u),
    )
    stolen = card * DEVICES + 2 + whole(rng.random(n) * (DEVICES - 2))[episode]
    return payments(
        world,
        midnight(day) + begin[episode] + whole(rng.random(rows) * lasts[episode]),
        card,
        terminal,
        usual(world, card, rng) * factor[episode],
        entry=entry_modes(world, terminal, rng, stripe=0.2, contactless=0.6),
        device=np.where(is_online(world, terminal), stolen, NO_DEVICE),
        pattern=Pattern.SPIKE,
        episode=episode_ids(day, Pattern.SPIKE, episode),
    )


def compromise(world: World, seed: int, day: int, genuine: Payments) -> Payments:
    """The same payments, of which a share at the terminals that are compromised on the day is
    fraud. Amounts, cards and times stay what they were: only the terminal tells."""
    first, shops = world.terminals.of(Kind.SHOP)
    _, sellers = world.terminals.of(Kind.ECOM)
    share = np.zeros(len(world.terminals.kind))
    episode = np.zeros(len(share), dtype=np.int64)
    rate = _COMPROMISED * (shops + sellers)
    for began in range(day - _COMPROMISED_DAYS + 1, day + 1):
        n = arrivals(rate, 0.25, began)
        rng = rolls(seed, Part.TERMINALS, began)
        terminal = first + whole(rng.random(n) * (shops + sellers))
        days = spread(rng, 4, _COMPROMISED_DAYS, n)
        part = 0.3 + 0.5 * rng.random(n)
        numbers = episode_ids(began, Pattern.TERMINAL, np.arange(n, dtype=np.int64))
        still = began + days > day
        share[terminal[still]] = part[still]
        episode[terminal[still]] = numbers[still]
    u = rolls(seed, Part.HITS, day).random(len(genuine))
    hit = (u < share[genuine.terminal]) & (genuine.pattern <= Pattern.TRIP)
    return genuine.with_pattern(
        np.where(hit, np.int8(Pattern.TERMINAL), genuine.pattern),
        np.where(hit, episode[genuine.terminal], genuine.episode),
    )

"""Customers, terminals and who goes where: all that stays the same from day to day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tidegate import content
from tidegate.schema import Hashes, Texts, texts
from tidegate.simulation.places import CATEGORIES, CHANNELS, CITIES, KIND_SHARES, RATES, Kind
from tidegate.simulation.rolls import (
    Floats,
    Integers,
    Part,
    Rolls,
    look_up,
    rolls,
    table,
    whole,
)

MIN_TERMINALS = 20
PAYMENTS_A_DAY = 1.4  # of a customer, on average
FAVOURITES = 8
FAVOURITES_ONLINE = 4
_CANDIDATES = 24  # terminals looked at for a customer's favourites; the nearest are taken
_AT_ONCE = 50_000  # customers, so that a large world needs no large temporary arrays


@dataclass(frozen=True, slots=True)
class Customers:
    """One entry a customer; each has one card of the same number."""

    home: npt.NDArray[np.int16]  # city
    rate: Floats  # payments a day
    mu: Floats  # mean of the logarithm of the amount in euro cents
    sigma: Floats
    online: Floats  # share of payments in e-commerce
    favourites: npt.NDArray[np.int32]  # (customers, 8) shops, nearest first
    favourites_online: npt.NDArray[np.int32]  # (customers, 4)
    card_token: Texts
    customer_id: Texts
    content: Hashes  # what a customer's fields add to the content hash of a payment


@dataclass(frozen=True, slots=True)
class Terminals:
    """One entry a terminal, ordered by kind, then city, then popularity."""

    kind: npt.NDArray[np.int8]
    city: npt.NDArray[np.int16]
    factor: Floats  # a payment here, as a multiple of the customer's usual amount
    rate: Floats  # minor units of the terminal's currency for a euro cent
    first: Integers  # (kinds, cities): the number of the first terminal
    count: Integers  # (kinds, cities)
    terminal_id: Texts
    merchant_id: Texts
    mcc: Texts
    merchant_country: Texts
    currency: Texts
    channel: Texts
    latitude: Texts  # float in degrees, None for terminals that stand nowhere
    longitude: Texts
    content: Hashes  # what a terminal's fields add to the content hash of a payment

    def of(self, kind: Kind) -> tuple[int, int]:
        """The first terminal of a kind, and how many there are."""
        return int(self.first[kind, 0]), int(self.count[kind].sum())

    def pick(self, kind: Kind, city: Integers, u: Floats) -> Integers:
        """A terminal of the kind in each city; u from 0 (the most popular one) to 1."""
        chosen: Integers = self.first[kind, city] + whole(u * self.count[kind, city])
        return chosen


@dataclass(frozen=True, slots=True)
class World:
    """What a simulation takes place in."""

    seed: int
    cities: int
    customers: Customers
    terminals: Terminals
    anywhere: Integers  # lookup table: a uniform number to a city, by the cities' weights

    def __len__(self) -> int:
        return len(self.customers.rate)

    @property
    def payments_a_day(self) -> float:
        """How many genuine payments an average day has."""
        return float(self.customers.rate.sum())


def world(customers: int, terminals: int, seed: int) -> World:
    """A world of so many customers (at least 1) and terminals (at least 20).

    The same arguments give the same world on every machine. Raises ValueError where a number is
    too small or the seed is not from 0 to 2**32 - 1.
    """
    if customers < 1:
        raise ValueError(f"customers must be at least 1, not {customers}")
    if terminals < MIN_TERMINALS:
        raise ValueError(f"terminals must be at least {MIN_TERMINALS}, not {terminals}")
    rng = rolls(seed, Part.WORLD)
    cities = min(max(terminals // 25, 2), len(CITIES))
    weights = np.array([city.weight for city in CITIES[:cities]])
    anywhere = table(weights)
    made, latitude, longitude = _terminals(rng, terminals, cities, weights)
    return World(
        seed,
        cities,
        _customers(rng, customers, made, anywhere, latitude, longitude),
        made,
        anywhere,
    )


def _terminals(
    rng: Rolls, terminals: int, cities: int, weights: Floats
) -> tuple[Terminals, Floats, Floats]:
    by_kind = np.maximum(whole(np.array(KIND_SHARES) * terminals), cities)
    by_kind[Kind.SHOP] = terminals - by_kind[1:].sum()
    share = weights / weights.sum()
    # Every city has a terminal of every kind; what rounding leaves over goes to the first city.
    count = 1 + whole((by_kind[:, None] - cities) * share[None, :])
    count[:, 0] += by_kind - count.sum(axis=1)
    first = (np.cumsum(count.ravel()) - count.ravel()).reshape(count.shape)
    kind = np.repeat(np.arange(len(Kind)), by_kind)
    city = np.repeat(np.tile(np.arange(cities), len(Kind)), count.ravel())

    category = np.empty(terminals, dtype=np.int64)
    u = rng.random(terminals)
    for each in Kind:
        suited = [i for i, c in enumerate(CATEGORIES) if c.kind == each]
        lookup = table([CATEGORIES[i].weight for i in suited])
        rows = kind == each
        category[rows] = np.array(suited)[look_up(lookup, u[rows])]

    # A chain of shops shares one merchant: about two thirds of the terminals' number.
    merchant = whole(rng.random(terminals) * max(terminals * 2 // 3, 1))
    latitude = np.array([c.latitude for c in CITIES])[city] + 0.08 * rng.standard_normal(terminals)
    longitude = np.array([c.longitude for c in CITIES])[city] + 0.12 * rng.standard_normal(
        terminals
    )
    stands = (kind != Kind.ECOM) & (kind != Kind.TRANSFER)
    fields = {
        "terminal_id": texts([f"term_{i:05d}" for i in range(terminals)]),
        "merchant_id": texts([f"mer_{i:05d}" for i in merchant.tolist()]),
        "mcc": texts([CATEGORIES[i].mcc for i in category.tolist()]),
        "merchant_country": texts([CITIES[i].country for i in city.tolist()]),
        "currency": texts([CITIES[i].currency for i in city.tolist()]),
        "channel": texts([CHANNELS[Kind(i)] for i in kind.tolist()]),
        "latitude": _degrees(latitude, stands),
        "longitude": _degrees(longitude, stands),
    }
    made = Terminals(
        kind=kind.astype(np.int8),
        city=city.astype(np.int16),
        factor=np.array([c.factor for c in CATEGORIES])[category],
        rate=np.array([RATES[c.currency] for c in CITIES])[city],
        first=first,
        count=count,
        content=content_of(fields),
        **fields,
    )
    return made, latitude, longitude


def _degrees(values: Floats, stands: npt.NDArray[np.bool_]) -> Texts:
    rounded = [round(value, 4) for value in values.tolist()]
    return texts([value if s else None for value, s in zip(rounded, stands.tolist(), strict=True)])


def _customers(
    rng: Rolls,
    customers: int,
    terminals: Terminals,
    anywhere: Integers,
    latitude: Floats,
    longitude: Floats,
) -> Customers:
    home = look_up(anywhere, rng.random(customers))
    rate = np.clip(rng.standard_gamma(2.0, customers), 0.1, 8.0)
    rate *= PAYMENTS_A_DAY * customers / rate.sum()
    mu = np.log(2_200.0) + 0.5 * rng.standard_normal(customers)
    sigma = 0.3 + 0.5 * rng.random(customers)
    online = 0.05 + 0.4 * rng.random(customers) ** 2
    north = np.array([c.latitude for c in CITIES])[home] + 0.08 * rng.standard_normal(customers)
    east = np.array([c.longitude for c in CITIES])[home] + 0.12 * rng.standard_normal(customers)
    favourites = np.empty((customers, FAVOURITES), dtype=np.int32)
    favourites_online = np.empty((customers, FAVOURITES_ONLINE), dtype=np.int32)
    for start in range(0, customers, _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, customers))
        shape = (part.stop - start, _CANDIDATES)
        place = np.broadcast_to(home[part, None], shape)
        candidates = terminals.pick(Kind.SHOP, place, rng.random(shape))
        # Rounded, so that the order of two about equally near ones is the same everywhere.
        away = whole(
            1e6
            * (
                (latitude[candidates] - north[part, None]) ** 2
                + (longitude[candidates] - east[part, None]) ** 2
            )
        )
        nearest = np.argsort(away, axis=1, kind="stable")[:, :FAVOURITES]
        favourites[part] = np.take_along_axis(candidates, nearest, axis=1)
        favourites_online[part] = terminals.pick(
            Kind.ECOM,
            look_up(anywhere, rng.random((shape[0], FAVOURITES_ONLINE))),
            rng.random((shape[0], FAVOURITES_ONLINE)) ** 2,
        )
    fields = {
        "card_token": texts([f"card_{i:06d}" for i in range(customers)]),
        "customer_id": texts([f"cust_{i:06d}" for i in range(customers)]),
    }
    return Customers(
        home=home.astype(np.int16),
        rate=rate,
        mu=mu,
        sigma=sigma,
        online=online,
        favourites=favourites,
        favourites_online=favourites_online,
        content=content_of(fields),
        **fields,
    )


def content_of(columns: Mapping[str, Texts]) -> Hashes:
    """What texts (or degrees) of these fields add to the content hash of their rows, by row."""
    hashes = np.zeros(len(next(iter(columns.values()))), dtype=np.uint64)
    for name, values in columns.items():
        if name in ("latitude", "longitude"):
            degrees = values.astype(np.float64)  # None becomes NaN
            hashes += content.of_floats(name, degrees, np.isnan(degrees))
        else:
            hashes += content.of_texts(name, pa.array(values.tolist(), pa.string()))
    return hashes

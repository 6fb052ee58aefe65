"""Cities, merchant categories and currencies of the simulated world."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from tidegate.simulation.rolls import table


class Kind(IntEnum):
    """What a terminal is. Terminals are numbered in this order."""

    SHOP = 0
    ECOM = 1
    VENDING = 2
    ATM = 3
    TRANSFER = 4


class City(NamedTuple):
    """Where customers live and terminals stand."""

    country: str
    currency: str
    latitude: float  # degrees
    longitude: float
    utc_offset: int  # hours
    weight: float  # of the world's customers and terminals


# The first ones are used by small worlds, so neighbours in the list lie in different countries.
CITIES = (
    City("DE", "EUR", 52.52, 13.40, 1, 12),
    City("FR", "EUR", 48.86, 2.35, 1, 12),
    City("GB", "GBP", 51.51, -0.13, 0, 6),
    City("ES", "EUR", 40.42, -3.70, 1, 9),
    City("NL", "EUR", 52.37, 4.90, 1, 6),
    City("IT", "EUR", 45.46, 9.19, 1, 8),
    City("US", "USD", 40.71, -74.01, -5, 3),
    City("AT", "EUR", 48.21, 16.37, 1, 6),
    City("DE", "EUR", 53.55, 9.99, 1, 7),
    City("CH", "CHF", 47.37, 8.54, 1, 3),
    City("FR", "EUR", 45.76, 4.84, 1, 5),
    City("JP", "JPY", 35.68, 139.69, 9, 2),
    City("DE", "EUR", 48.14, 11.58, 1, 7),
    City("BE", "EUR", 50.85, 4.35, 1, 5),
    City("ES", "EUR", 41.39, 2.17, 1, 6),
    City("PT", "EUR", 38.72, -9.14, 0, 4),
)

# Minor units of the currency for one euro cent.
RATES = {"EUR": 1.0, "GBP": 0.85, "USD": 1.1, "CHF": 0.95, "JPY": 1.6}


class Category(NamedTuple):
    """A merchant category: its code (ISO 18245), the terminals it suits, and its prices."""

    mcc: str
    kind: Kind
    factor: float  # a payment here, as a multiple of the customer's usual amount
    weight: float  # among the terminals of its kind


CATEGORIES = (
    Category("5411", Kind.SHOP, 1.0, 30),  # groceries
    Category("5812", Kind.SHOP, 0.9, 20),  # restaurants
    Category("5541", Kind.SHOP, 1.6, 10),  # fuel
    Category("5651", Kind.SHOP, 2.0, 10),  # clothing
    Category("5912", Kind.SHOP, 0.7, 10),  # pharmacies
    Category("5732", Kind.SHOP, 4.5, 5),  # electronics
    Category("5814", Kind.SHOP, 0.4, 15),  # fast food
    Category("5999", Kind.ECOM, 1.5, 40),  # retail
    Category("5815", Kind.ECOM, 0.4, 25),  # digital goods
    Category("5311", Kind.ECOM, 1.8, 20),  # department stores
    Category("4722", Kind.ECOM, 7.0, 8),  # travel
    Category("5732", Kind.ECOM, 4.5, 7),  # electronics
    Category("7523", Kind.VENDING, 0.12, 50),  # parking
    Category("4111", Kind.VENDING, 0.15, 50),  # local transport
    Category("6011", Kind.ATM, 3.5, 1),  # cash
    Category("4829", Kind.TRANSFER, 12.0, 1),  # money transfer
)

CHANNELS = {
    Kind.SHOP: "pos",
    Kind.ECOM: "ecom",
    Kind.VENDING: "pos",
    Kind.ATM: "atm",
    Kind.TRANSFER: "transfer",
}

# Share of a world's terminals, in the order of Kind.
KIND_SHARES = (0.70, 0.15, 0.08, 0.05, 0.02)

# Point of service entry mode (ISO 8583, field 22): chip, contactless, magnetic stripe, online.
ENTRY_MODES = ("05", "07", "90", "81")
CHIP, CONTACTLESS, STRIPE, ONLINE = range(4)

# Payments by hour of the local day.
_IN_PERSON = [1, 1, 1, 1, 1, 2, 6, 14, 22, 26, 30, 36, 44, 38, 32, 32, 36, 44, 46, 34, 22, 12, 6, 3]
_ONLINE = [8, 4, 3, 2, 2, 2, 4, 8, 14, 18, 20, 21, 24, 22, 20, 20, 21, 24, 28, 34, 42, 40, 28, 16]
IN_PERSON_HOURS = table([float(weight) for weight in _IN_PERSON])
ONLINE_HOURS = table([float(weight) for weight in _ONLINE])

# Payments by day of the week, Monday first, and by month; both average about 1.
WEEKDAYS = (0.93, 0.93, 0.97, 1.0, 1.12, 1.18, 0.87)
MONTHS = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.05, 1.25)

UTC_OFFSETS = np.array([city.utc_offset for city in CITIES], dtype=np.int64)

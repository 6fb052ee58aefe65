"""ISO 4217 currencies: which codes a payment may carry and how many decimals their minor unit has.

The table is the standard's own list, as the `iso4217` package carries it, without the codes that
have no minor unit (gold, testing, "no currency"): nothing can be paid in minor units of those.
Codes withdrawn since 2010 are added, because history is evaluated and replayed too.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from iso4217 import Currency

# ISO 4217 list three (withdrawn codes), those that payment history since 2010 may hold.
_WITHDRAWN = {
    "ANG": 2,
    "BGN": 2,
    "BYR": 0,
    "CUC": 2,
    "EEK": 2,
    "HRK": 2,
    "LTL": 2,
    "LVL": 2,
    "MRO": 2,
    "SLL": 2,
    "STD": 2,
    "VEF": 2,
    "ZMK": 2,
    "ZWL": 2,
}


def _exponents() -> dict[str, int]:
    current = {c.code: c.exponent for c in Currency if c.exponent is not None}
    return _WITHDRAWN | current


EXPONENTS: Mapping[str, int] = MappingProxyType(_exponents())


def exponent(code: str) -> int:
    """How many decimals the currency's minor unit stands for: EUR 2, JPY 0, KWD 3.

    Raises `KeyError` for a code that is not in ISO 4217 or has no minor unit.
    """
    return EXPONENTS[code]


def format_amount(minor: int, code: str) -> str:
    """An amount as people read it, from minor units: `format_amount(43000, "EUR")` is
    "430.00 EUR". Raises `KeyError` as `exponent` does."""
    decimals = exponent(code)
    sign = "-" if minor < 0 else ""
    digits = str(abs(minor)).rjust(decimals + 1, "0")
    if decimals == 0:
        return f"{sign}{digits} {code}"
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]} {code}"

"""Amounts as people write them."""

from __future__ import annotations

from decimal import Decimal

from tidegate.currencies import EXPONENTS


def major(amount_minor: int, currency: str) -> str | None:
    """An amount in minor units as exact decimal text in major ones: 1234 USD is `12.34`, 1234 JPY
    is `1234`; None for a currency that this release does not know.

    Browsers and ISO 4217 disagree on the decimals of some currencies, so pages are told.
    """
    decimals = EXPONENTS.get(currency)
    return None if decimals is None else f"{Decimal(amount_minor).scaleb(-decimals):f}"

from __future__ import annotations

import pytest

from tidegate import currencies


@pytest.mark.parametrize(
    ("code", "decimals"), [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("ISK", 0), ("HRK", 2)]
)
def test_the_minor_unit_of_a_currency_is_known(code: str, decimals: int) -> None:
    assert currencies.exponent(code) == decimals


@pytest.mark.parametrize("code", ["XAU", "XXX", "XTS", "eur", "ABC", "", "EURO"])
def test_what_nothing_can_be_paid_in_is_no_currency(code: str) -> None:
    with pytest.raises(KeyError):
        currencies.exponent(code)


@pytest.mark.parametrize(
    ("minor", "code", "text"),
    [
        (43_000, "EUR", "430.00 EUR"),
        (5, "EUR", "0.05 EUR"),
        (0, "EUR", "0.00 EUR"),
        (1234, "JPY", "1234 JPY"),
        (0, "JPY", "0 JPY"),
        (1234, "KWD", "1.234 KWD"),
        (-5, "EUR", "-0.05 EUR"),
        (2**63 - 1, "EUR", "92233720368547758.07 EUR"),
    ],
)
def test_an_amount_is_shown_exactly_in_its_currency(minor: int, code: str, text: str) -> None:
    assert currencies.format_amount(minor, code) == text

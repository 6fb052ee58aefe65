from __future__ import annotations

import pytest

from api.money import major


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (1234, "USD", "12.34"),
        (5, "EUR", "0.05"),
        (0, "EUR", "0.00"),
        (1234, "JPY", "1234"),
        (1234, "KWD", "1.234"),
        (2**63 - 1, "EUR", "92233720368547758.07"),
        (-50, "EUR", "-0.50"),
        (100, "???", None),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(minor, currency, text):
    assert major(minor, currency) == text

"""Keys as text."""

from __future__ import annotations

import hashlib

import pytest

from tidegate import keys
from tidegate.keys import Key


def test_a_key_is_its_prefix_and_256_random_bits() -> None:
    made = [keys.made() for _ in range(100)]
    assert len({key.prefix for key in made}) == len({key.secret for key in made}) == 100
    for key in made:
        assert keys.read(key.text) == key
        assert key.text == f"tg_{key.prefix}_{key.secret}"
        assert (len(key.prefix), len(key.secret)) == (12, 43)
        assert "_" not in key.prefix


def test_of_the_secret_the_sha256_is_kept() -> None:
    key = keys.made()
    assert key.hash == hashlib.sha256(key.secret.encode()).digest()
    assert key.hash != keys.made().hash


def test_a_key_that_is_printed_does_not_show_its_secret() -> None:
    key = keys.made()
    assert key.secret not in repr(key)
    assert key.prefix in repr(key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tg_",
        "tg_abcd",
        "tg_abcd_",
        "tg_abcd_" + "x" * 42,
        "tg_abcd_" + "x" * 44,
        "tg_abc_" + "x" * 43,
        "tg_ABCD_" + "x" * 43,
        "tg_abcd_" + "x" * 42 + "\n",
        "tg_abcd_" + "x" * 43 + "\n",
        "xx_abcd_" + "x" * 43,
        "tg_abcd_" + "\N{LATIN SMALL LETTER E WITH ACUTE}" * 43,
    ],
)
def test_what_is_no_key_is_none(text: str) -> None:
    assert keys.read(text) is None
    assert keys.read("tg_abcd_" + "x" * 43) == Key("abcd", "x" * 43)

"""Stored secrets: encrypted where there is a key, and readable as long as one of the keys is."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from tidegate.sealing import CannotOpen, Sealer

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


def test_with_a_key_the_secret_is_not_in_what_is_stored() -> None:
    stored = Sealer([NEW]).seal("whsec_1")
    assert "whsec_1" not in stored
    assert Sealer([NEW]).open(stored) == "whsec_1"
    assert Sealer([NEW]).seal("whsec_1") != stored


def test_keys_come_and_go() -> None:
    without = Sealer().seal("s")
    with_old = Sealer([OLD]).seal("s")
    for stored in (without, with_old, Sealer([NEW, OLD]).seal("s")):
        assert Sealer([NEW, OLD]).open(stored) == "s"
    assert Sealer([NEW]).open(Sealer([NEW, OLD]).seal("s")) == "s"


def test_without_the_right_key_it_cannot_be_opened_and_the_reason_names_the_setting() -> None:
    stored = Sealer([OLD]).seal("s")
    for keys in ([], [NEW]):
        with pytest.raises(CannotOpen, match="TIDEGATE_SECRET_KEY"):
            Sealer(keys).open(stored)

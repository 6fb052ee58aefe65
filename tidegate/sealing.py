"""Secrets that must be read again, such as those that webhooks are signed with, as they are stored.

With keys they are encrypted (Fernet: AES-128-CBC and HMAC-SHA256); without, they are stored as they
are. Each text says which, so keys may come and go: what was stored without stays readable.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

_PLAIN, _FERNET = "plain:", "fernet:"


class CannotOpen(ValueError):
    """None of the keys is the one that it was sealed with."""


class Sealer:
    """Seals and opens texts. The first key seals, each of them opens; with none, nothing is
    encrypted. Keys are as `Fernet.generate_key` makes them; raises ValueError for others."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._keys = MultiFernet([Fernet(key) for key in keys]) if keys else None

    def seal(self, secret: str) -> str:
        """The secret as it may be stored."""
        if self._keys is None:
            return _PLAIN + secret
        return _FERNET + self._keys.encrypt(secret.encode()).decode()

    def open(self, stored: str) -> str:
        """The secret that was stored. Raises CannotOpen."""
        if stored.startswith(_PLAIN):
            return stored.removeprefix(_PLAIN)
        if self._keys is None:
            raise CannotOpen("it is encrypted, and there is no key (TIDEGATE_SECRET_KEY)")
        try:
            return self._keys.decrypt(stored.removeprefix(_FERNET).encode()).decode()
        except InvalidToken as ex:
            raise CannotOpen("it was encrypted with another key (TIDEGATE_SECRET_KEY)") from ex

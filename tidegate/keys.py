"""API keys as text: `tg_<prefix>_<secret>`. The prefix is shown and looked up by; of the secret,
only its SHA-256 is kept.

A plain hash is right here. Slow ones (bcrypt, argon2) make guesses dear where a person chose the
secret; these are 256 random bits, which nobody guesses at whatever speed, and each request would
pay for the slowness.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field

SECRET_BYTES = 32
PREFIX_LENGTH = 12  # characters of 32: two of a million keys are the same once in 2 million times

_ALPHABET = "abcdefghijkmnopqrstuvwxyz2345678"  # no l, which looks like 1
_KEY = re.compile(r"tg_([a-z0-9]{4,32})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is given to somebody."""

    prefix: str
    secret: str = field(repr=False)  # 43 characters: base64 of 32 bytes

    @property
    def text(self) -> str:
        """What is given away, once."""
        return f"tg_{self.prefix}_{self.secret}"

    @property
    def hash(self) -> bytes:
        """What is kept of the secret: 32 bytes."""
        return hashed(self.secret)


def made() -> Key:
    """A new key."""
    prefix = "".join(secrets.choice(_ALPHABET) for _ in range(PREFIX_LENGTH))
    return Key(prefix, random_text())


def read(text: str) -> Key | None:
    """The key that a text is, or None where it is none."""
    match = _KEY.fullmatch(text)
    return None if match is None else Key(match[1], match[2])


def random_text() -> str:
    """32 random bytes as 43 characters that need no quoting anywhere."""
    return base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode()


def hashed(secret: str) -> bytes:
    """The SHA-256 of a secret."""
    return hashlib.sha256(secret.encode()).digest()

"""How webhooks are signed: HMAC-SHA256 of the time and the body, in one header."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

HEADER = "Tidegate-Signature"
_PREFIX = "whsec_"


def new_secret() -> str:
    """A secret for one webhook: 256 random bits, with a prefix that scanners of leaks can find."""
    return _PREFIX + secrets.token_urlsafe(32)


def signature(body: bytes, at: int, keys: Sequence[str]) -> str:
    """The header's value: `t=` and the time (seconds since 1970), then `v1=` and a signature in
    hexadecimal for each of the secrets, all between commas."""
    signed = str(at).encode() + b"." + body
    found = [hmac.new(key.encode(), signed, hashlib.sha256).hexdigest() for key in keys]
    return ",".join([f"t={at}", *(f"v1={one}" for one in found)])

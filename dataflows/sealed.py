"""Small state as portable, checksummed bytes, for what is no arrays (those are `models.portable`).

Layout: one ASCII line `SEALED <kind> <version> <BLAKE2b-128 of the rest, hexadecimal>`, then the
value as MessagePack. Equal values give equal bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec

from models.portable import BadState

MAGIC = b"SEALED"

T = TypeVar("T")


def seal(kind: str, version: int, value: Any) -> bytes:
    """A value of plain builtins, or a dataclass of such, as bytes."""
    content = msgspec.msgpack.encode(value, order="deterministic")
    return _head(kind, version, content) + content


def unseal(kind: str, version: int, data: bytes, into: type[T]) -> T:
    """The value that `seal` was given, of the type that it had.

    Raises BadState when the bytes are torn, altered, or not of this kind and version.
    """
    head, newline, content = data.partition(b"\n")
    words = head.split(b" ")
    if not newline or len(words) != 4 or words[0] != MAGIC or words[1] != kind.encode():
        raise BadState(f"not a saved {kind}")
    if words[2] != str(version).encode():
        raise BadState(f"{kind} of version {words[2].decode(errors='replace')}, not {version}")
    if head + newline != _head(kind, version, content):
        raise BadState(f"saved {kind} is damaged: its checksum does not fit")
    try:
        return msgspec.msgpack.decode(content, type=into)
    except msgspec.DecodeError as error:
        raise BadState(f"saved {kind} holds something else: {error}") from error


def _head(kind: str, version: int, content: bytes) -> bytes:
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return f"{MAGIC.decode()} {kind} {version} {digest}\n".encode()

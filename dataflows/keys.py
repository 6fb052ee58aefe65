"""Shard keys that Bytewax spreads evenly over any number of workers.

Bytewax sends a key to the worker given by the key's hash modulo the number of workers. The hash is
Rust's DefaultHasher (SipHash-1-3 with zero keys, of the UTF-8 bytes and a 0xff). Keys named 0 to 3
may all meet on one worker, so shard i gets a key whose hash is congruent to i modulo every number
of workers there may be: with w workers it lands on worker i mod w.
"""

from __future__ import annotations

from functools import cache
from itertools import count
from math import lcm
from zlib import crc32

import numpy as np

from tidegate.schema import Ints, Texts

_MASK = 2**64 - 1
_EVEN_TO = 8  # workers up to which the spread is even whatever the number; beyond, for divisors


@cache
def shard_keys(shards: int) -> tuple[str, ...]:
    """One key a shard."""
    modulus = lcm(*(w for w in range(1, shards + 1) if w <= _EVEN_TO or shards % w == 0))
    keys: dict[int, str] = {}
    for number in count():
        key = f"shard-{number:x}"
        place = default_hash(key) % modulus
        if place < shards:
            keys.setdefault(place, key)
        if len(keys) == shards:
            return tuple(keys[shard] for shard in range(shards))
    raise AssertionError("count() does not end")


def shards_of(names: Texts, shards: int) -> Ints:
    """The shard of each entity, the same in every process and for ever."""
    if shards == 1:
        return np.zeros(len(names), np.int64)
    return np.array([crc32(name.encode()) % shards for name in names], np.int64)


def default_hash(key: str) -> int:
    """Rust's `DefaultHasher` of a string: SipHash-1-3 (Aumasson and Bernstein, 2012), keys zero."""
    data = key.encode() + b"\xff"
    v = [0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573]
    whole = len(data) // 8 * 8
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    words.append(int.from_bytes(data[whole:].ljust(7, b"\0") + bytes([len(data) % 256]), "little"))
    for word in words:
        v[3] ^= word
        _round(v)
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(3):
        _round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _round(v: list[int]) -> None:
    v[0] = (v[0] + v[1]) & _MASK
    v[1] = _turned(v[1], 13) ^ v[0]
    v[0] = _turned(v[0], 32)
    v[2] = (v[2] + v[3]) & _MASK
    v[3] = _turned(v[3], 16) ^ v[2]
    v[0] = (v[0] + v[3]) & _MASK
    v[3] = _turned(v[3], 21) ^ v[0]
    v[2] = (v[2] + v[1]) & _MASK
    v[1] = _turned(v[1], 17) ^ v[2]
    v[2] = _turned(v[2], 32)


def _turned(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (64 - bits))) & _MASK

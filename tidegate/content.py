"""A hash of a transaction's content, which tells a repeat from an id used again.

It is the same on every machine, in every process, and whether the row came as JSON or in a file;
a field that is absent counts as one that is null. It is not cryptographic: who can choose all
fields of two transactions can make their hashes equal, and would only have a change of their own
transaction taken for a repeat of it.

Each value is hashed with splitmix64's mixing function (Steele, Lea, Flood 2014, variant 13 of
Stafford), salted with its field's name; a row's hash is the mixed sum over its fields.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.columns import as_mask, byte_lengths
from tidegate.schema import Bools, Hashes, Ints

_WORD = 8  # bytes
_BLOCK_BYTES = 1 << 20  # hashed at a time, which bounds the padded copy of the texts
_BLOCK_ROWS = 256, 8192  # at least and at most

_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix(values: Hashes) -> Hashes:
    """splitmix64's finalizer, a bijection of 64 bits."""
    values = (values ^ (values >> _S30)) * _M1
    values = (values ^ (values >> _S27)) * _M2
    return values ^ (values >> _S31)


@cache
def salt(field: str) -> np.uint64:
    """What sets a field's values apart from the same values in another field."""
    digest = hashlib.blake2b(field.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def of_texts(field: str, values: pa.StringArray) -> Hashes:
    """A hash for each text, 0 for null."""
    hashes = np.empty(len(values), dtype=np.uint64)
    longest = int(byte_lengths(values).max(initial=0))
    least, most = _BLOCK_ROWS
    step = min(max(_BLOCK_BYTES // (longest + 1), least), most)
    for start in range(0, len(values), step):
        block = values.slice(start, step)
        hashes[start : start + len(block)] = _hash_block(block)
    hashes = mix(hashes + salt(field))
    if values.null_count:
        hashes[as_mask(values.is_null())] = 0
    return hashes


def _hash_block(block: pa.StringArray) -> Hashes:
    # One row of zero-padded 64-bit words for each text. Where the block's longest text is longer,
    # the words beyond a text's own end leave its hash alone.
    if block.null_count:
        block = pc.fill_null(block, "")  # a null may still own bytes
    lengths = byte_lengths(block)
    width = max(1, -(-int(lengths.max()) // _WORD))
    padded = np.zeros((len(block), width * _WORD), dtype=np.uint8)
    _, offsets, data = block.buffers()
    if data is not None:
        ends = np.frombuffer(offsets, dtype=np.int32)[block.offset : block.offset + len(block) + 1]
        raw = np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]]
        padded[np.arange(width * _WORD) < lengths[:, None]] = raw
    words = padded.view("<u8").astype(np.uint64, copy=False)
    hashes = mix(lengths.view(np.uint64))
    for place in range(width):
        mixed = mix(hashes ^ words[:, place])
        hashes = mixed if place == 0 else np.where(lengths > place * _WORD, mixed, hashes)
    return hashes


def of_ints(field: str, values: Ints) -> Hashes:
    """A hash for each integer."""
    return mix(mix(values.view(np.uint64)) + salt(field))


def of_floats(field: str, values: npt.NDArray[np.float64], null: Bools) -> Hashes:
    """A hash for each number, 0 where null; -0.0 counts as 0.0."""
    bits = np.ascontiguousarray(values + 0.0).view(np.uint64)
    return np.where(null, np.uint64(0), mix(mix(bits) + salt(field)))

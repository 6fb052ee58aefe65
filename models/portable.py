"""State as portable, checksummed bytes: named arrays, never pickled objects.

Layout: one ASCII line `TIDEGATE <kind> <version> <BLAKE2b-128 of the rest, hexadecimal>`, then an
uncompressed npz (numpy's own zip of arrays); or `LZ4`, the size of the npz in eight bytes, and a
frame of LZ4 with the npz in it. Equal arrays give equal bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tidegate.schema import Texts, texts

Arrays = Mapping[str, npt.NDArray[Any]]

MAGIC = b"TIDEGATE"

_LZ4, _SIZE = b"LZ4", 8
_CODEC = pa.Codec("lz4")


class BadState(ValueError):
    """Saved bytes that are torn, altered, of another kind, or of a version we cannot read."""


def pack(kind: str, version: int, arrays: Arrays, *, small: bool = False) -> bytes:
    """The arrays as bytes, in the order of their names. small: compressed, for arrays that are
    large and mostly one value; what the content is named by must not be, as codecs may change."""
    body = io.BytesIO()
    np.savez(body, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    content = body.getvalue()
    if small:
        size = len(content).to_bytes(_SIZE, "little")
        content = _LZ4 + size + _CODEC.compress(content, asbytes=True)
    return b"%s %s %d %s\n" % (MAGIC, kind.encode(), version, _digest(content)) + content


def unpack(
    kind: str, version: int, data: bytes, *, oldest: int | None = None
) -> dict[str, npt.NDArray[Any]]:
    """The arrays that `pack` was given. oldest: the first version that can be read, if it is not
    this one alone.

    Raises BadState when the bytes are torn, altered, or not of this kind and version.
    """
    head, newline, content = data.partition(b"\n")
    words = head.split(b" ")
    if not newline or len(words) != 4 or words[0] != MAGIC:
        raise BadState(f"not a saved {kind}: its first line is missing")
    if words[1] != kind.encode():
        raise BadState(f"not a saved {kind} but a {words[1].decode(errors='replace')}")
    if words[2] not in {b"%d" % known for known in range(oldest or version, version + 1)}:
        raise BadState(f"{kind} of version {words[2].decode(errors='replace')}, not {version}")
    if words[3] != _digest(content):
        raise BadState(f"saved {kind} is damaged: its checksum does not fit")
    if content.startswith(_LZ4):
        begin = len(_LZ4) + _SIZE
        size = int.from_bytes(content[len(_LZ4) : begin], "little")
        content = _CODEC.decompress(content[begin:], size, asbytes=True)
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def pack_texts(values: Texts) -> dict[str, npt.NDArray[Any]]:
    """Strings as two plain arrays: their UTF-8 bytes end to end, and the length of each."""
    encoded = [value.encode() for value in values.tolist()]
    return {
        "bytes": np.frombuffer(b"".join(encoded), np.uint8),
        "lengths": np.fromiter(map(len, encoded), np.int64, len(encoded)),
    }


def unpack_texts(data: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64]) -> Texts:
    """The strings that `pack_texts` was given."""
    whole = data.tobytes()
    ends = np.cumsum(lengths).tolist()
    return texts([whole[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)])


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()

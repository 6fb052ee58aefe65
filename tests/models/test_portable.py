"""State as bytes: equal arrays give equal bytes, damaged bytes are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.portable import BadState, pack, pack_texts, unpack, unpack_texts
from tidegate.schema import texts

ARRAYS: dict[str, npt.NDArray[Any]] = {
    "ints": np.arange(-3, 3, dtype=np.int64).reshape(2, 3),
    "floats": np.array([0.1, -0.0, np.inf, np.nan], np.float32),
    "bytes": np.frombuffer(b"some bytes\n with lines", np.uint8),
    "none": np.zeros((0, 4), np.int32),
    "flags": np.array([True, False]),
}
WHOLE = pack("thing", 3, ARRAYS)
SMALL = pack("thing", 3, ARRAYS, small=True)


@pytest.mark.parametrize("packed", [WHOLE, SMALL], ids=["whole", "small"])
def test_what_was_packed_is_unpacked_to_the_bit(packed: bytes) -> None:
    found = unpack("thing", 3, packed)
    assert set(found) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_equal_arrays_give_equal_bytes_in_whatever_order_they_are_named() -> None:
    turned = {name: ARRAYS[name].copy() for name in reversed(ARRAYS)}
    assert pack("thing", 3, turned) == WHOLE
    assert pack("thing", 3, turned, small=True) == SMALL


def test_what_is_mostly_one_value_becomes_small() -> None:
    assert len(pack("thing", 3, {"many": np.zeros(100_000)}, small=True)) < 10_000


def test_older_versions_are_read_where_that_is_said() -> None:
    assert unpack("thing", 5, WHOLE, oldest=3).keys() == ARRAYS.keys()
    for version, oldest in ((5, 4), (2, 1), (5, None)):
        with pytest.raises(BadState, match=f"thing of version 3, not {version}"):
            unpack("thing", version, WHOLE, oldest=oldest)


def test_unpacked_arrays_can_be_written_to() -> None:
    for array in [*unpack("thing", 3, WHOLE).values(), *unpack("thing", 3, SMALL).values()]:
        assert array.flags.writeable
        assert array.flags.c_contiguous


def test_the_first_line_says_what_it_is() -> None:
    assert WHOLE.startswith(b"TIDEGATE thing 3 ")


@settings(max_examples=80, deadline=None)
@given(packed=st.sampled_from([WHOLE, SMALL]), place=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused(packed: bytes, place: int, bit: int) -> None:
    damaged = bytearray(packed)
    damaged[place % len(packed)] ^= 1 << bit
    with pytest.raises(BadState):
        unpack("thing", 3, bytes(damaged))


@settings(max_examples=40, deadline=None)
@given(packed=st.sampled_from([WHOLE, SMALL]), length=st.integers(0))
def test_torn_bytes_are_refused(packed: bytes, length: int) -> None:
    with pytest.raises(BadState):
        unpack("thing", 3, packed[: length % len(packed)])


@settings(max_examples=25, deadline=None)
@given(tail=st.binary(min_size=1))
def test_bytes_with_something_behind_them_are_refused(tail: bytes) -> None:
    with pytest.raises(BadState):
        unpack("thing", 3, WHOLE + tail)


@given(data=st.binary(max_size=300))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadState):
        unpack("thing", 3, data)


def test_another_kind_or_version_is_refused() -> None:
    with pytest.raises(BadState, match="not a saved other but a thing"):
        unpack("other", 3, WHOLE)
    with pytest.raises(BadState, match="of version 3, not 4"):
        unpack("thing", 4, WHOLE)


def test_objects_are_never_pickled() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        pack("thing", 3, {"objects": texts(["a", None])})


@given(values=st.lists(st.text(st.characters(codec="utf-8"))))
def test_texts_survive_as_plain_arrays(values: list[str]) -> None:
    arrays = pack_texts(texts(values))
    found = unpack("t", 1, pack("t", 1, arrays))
    assert unpack_texts(found["bytes"], found["lengths"]).tolist() == values

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import content


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=30), st.text(max_size=300))
def test_a_text_has_the_same_hash_in_any_company(few: list[str | None], longer: str) -> None:
    alone = [int(content.of_texts("f", pa.array([text], pa.string()))[0]) for text in few]
    together = content.of_texts("f", pa.array([longer, *few, None], pa.string()).slice(1))
    assert together.tolist() == [*alone, 0]


def test_distinct_texts_have_distinct_hashes() -> None:
    texts = [
        f"{prefix}{n}" for prefix in ("", "card-", "long-prefix-of-words-") for n in range(30_000)
    ]
    hashes = content.of_texts("card_token", pa.array(texts))
    assert len(np.unique(hashes)) == len(texts)
    # Every bit is used evenly: 90,000 coins fall within five standard deviations.
    bits = (hashes[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert (np.abs(bits.mean(axis=0) - 0.5) < 5 * 0.5 / 300).all()


def test_the_same_value_counts_differently_in_another_field() -> None:
    value = pa.array(["x"])
    assert content.of_texts("card_token", value) != content.of_texts("terminal_id", value)
    one = np.array([1], dtype=np.int64)
    assert content.of_ints("event_time", one) != content.of_ints("amount_minor", one)


def reference_mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def reference_text(field: str, text: str) -> int:
    raw = text.encode()
    value = reference_mix(len(raw))
    for start in range(0, len(raw), 8):
        value = reference_mix(value ^ int.from_bytes(raw[start : start + 8], "little"))
    return reference_mix((value + reference_salt(field)) % 2**64)


def reference_salt(field: str) -> int:
    return int.from_bytes(hashlib.blake2b(field.encode(), digest_size=8).digest(), "little")


def reference_bits(field: str, bits: int) -> int:
    return reference_mix((reference_mix(bits % 2**64) + reference_salt(field)) % 2**64)


def test_hashes_are_the_same_in_every_process_and_release() -> None:
    # They are kept in snapshots for 24 hours: were they others after an upgrade, every repeat
    # would be taken for an id used again.
    texts = ["card-1", "", "é€𝄞", "x" * 128]
    assert content.of_texts("card_token", pa.array(texts)).tolist() == [
        reference_text("card_token", text) for text in texts
    ]
    assert reference_text("card_token", "card-1") == 4815568790136451300
    ints = content.of_ints("amount_minor", np.array([-1, 0, 4300], dtype=np.int64))
    assert ints.tolist() == [reference_bits("amount_minor", n) for n in (-1, 0, 4300)]
    floats = content.of_floats(
        "latitude", np.array([52.5, -0.0, 0.0, np.nan]), np.array([False, False, False, True])
    )
    zero = reference_bits("latitude", 0)
    assert floats.tolist() == [
        reference_bits("latitude", int.from_bytes(struct.pack("<d", 52.5), "little")),
        zero,
        zero,
        0,
    ]

"""Messages made of rows, which decode to the same rows."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import decode, simulate
from tidegate.checks import CHANNELS, CURRENCIES, LABEL_SOURCES
from tidegate.kafka import incoming
from tidegate.schema import Batch, Labels

text = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=64)
time = st.builds(
    "20{:02d}-{:02d}-28T{:02d}:59:07{}{}".format,
    st.integers(10, 99),
    st.integers(1, 12),
    st.integers(0, 23),
    st.sampled_from(["", ".5", ".000001", ".999999", ".25"]),
    st.sampled_from(["Z", "+02:00", "-11:30"]),
)
value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e9, 1e9) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
transaction = st.fixed_dictionaries(
    {
        "transaction_id": text,
        "event_time": time,
        "amount_minor": st.integers(0, 2**63 - 1),
        "currency": st.sampled_from(CURRENCIES),
        "card_token": text,
        "terminal_id": text,
    },
    optional={
        "merchant_id": text | st.none(),
        "customer_id": text,
        "mcc": st.from_regex(r"[0-9]{4}", fullmatch=True),
        "merchant_country": st.sampled_from(["DE", "FR"]),
        "acquirer_country": st.sampled_from(["DE", "FR"]),
        "pos_entry_mode": text,
        "channel": st.sampled_from(CHANNELS),
        "device_id": text,
        "ip": text,
        "latitude": st.floats(-90, 90),
        "longitude": st.floats(-180, 180) | st.integers(-180, 180),
        "attributes": st.dictionaries(text, value, max_size=4) | st.none(),
    },
)
label = st.fixed_dictionaries(
    {
        "transaction_id": text,
        "fraud": st.booleans(),
        "source": st.sampled_from(LABEL_SOURCES),
        "labelled_at": time,
    },
    optional={"reason": text | st.none()},
)


def payloads(rows: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


def columns(rows: Batch | Labels) -> dict[str, list[Any]]:
    """Every column by name; an optional one that is all absent is none."""
    found = {f.name: getattr(rows, f.name).tolist() for f in fields(rows) if f.name != "extras"}
    if isinstance(rows, Batch):
        found |= {name: column.tolist() for name, column in rows.extras.items()}
    return {name: column for name, column in found.items() if set(map(type, column)) - {type(None)}}


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(transaction, max_size=6))
def test_payments_decode_to_what_they_were_made_of_with_their_content(
    rows: list[dict[str, Any]],
) -> None:
    batch = decode.transactions(payloads(rows)).rows
    found = decode.transactions(incoming.transactions(batch))
    assert found.bad == []
    assert columns(found.rows) == columns(batch)
    assert found.rows.content.tolist() == batch.content.tolist()


@settings(deadline=None)
@given(st.lists(label, max_size=6))
def test_labels_decode_to_what_they_were_made_of(rows: list[dict[str, Any]]) -> None:
    told = decode.labels(payloads(rows)).rows
    found = decode.labels(incoming.labels(told))
    assert found.bad == []
    assert columns(found.rows) == columns(told)


def test_a_simulation_decodes_to_itself() -> None:
    batch, told = simulate.simulate(200, 40, 10, seed=3)
    found = decode.transactions(incoming.transactions(batch))
    assert found.bad == []
    assert columns(found.rows) == columns(batch)
    again = decode.labels(incoming.labels(told))
    assert again.bad == []
    assert columns(again.rows) == columns(told)


def test_what_a_row_lacks_is_left_out_of_its_message() -> None:
    batch, _ = simulate.simulate(50, 20, 3, seed=3)
    offline = np.array([device is None for device in batch.extras["device_id"]])
    messages = incoming.transactions(batch)
    assert 0 < offline.sum() < len(batch)
    assert [b"device_id" not in message for message in messages] == offline.tolist()
    assert not any(b"null" in message for message in messages)

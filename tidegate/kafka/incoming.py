"""Payments and labels as the messages that payment systems send: the reverse of `tidegate.decode`.

A message decodes to the row it was made of, its content's hash included.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.schema import OPTIONAL_FIELDS, Batch, Labels, nothing
from tidegate.simulation.files import rfc3339


class _Transaction(msgspec.Struct, omit_defaults=True, gc=False):
    transaction_id: str
    event_time: str
    amount_minor: int
    currency: str
    card_token: str
    terminal_id: str
    merchant_id: str | None = None
    customer_id: str | None = None
    mcc: str | None = None
    merchant_country: str | None = None
    acquirer_country: str | None = None
    pos_entry_mode: str | None = None
    channel: str | None = None
    device_id: str | None = None
    ip: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    attributes: dict[str, Any] | None = None


class _Label(msgspec.Struct, omit_defaults=True, gc=False):
    transaction_id: str
    fraud: bool
    source: str
    labelled_at: str
    reason: str | None = None


def transactions(batch: Batch) -> list[bytes]:
    """A message for each payment. A field that a row lacks is left out."""
    absent = nothing(len(batch))
    rows = zip(
        batch.transaction_id,
        rfc3339(batch.event_time),
        batch.amount_minor.tolist(),
        batch.currency,
        batch.card_token,
        batch.terminal_id,
        *(batch.extras.get(name, absent) for name in OPTIONAL_FIELDS),
        strict=True,
    )
    return [_ENCODE(_Transaction(*row)) for row in rows]


def labels(told: Labels) -> list[bytes]:
    """A message for each label."""
    rows = zip(
        told.transaction_id,
        told.fraud.tolist(),
        told.source,
        rfc3339(told.labelled_at),
        told.reason,
        strict=True,
    )
    return [_ENCODE(_Label(*row)) for row in rows]


_ENCODE = msgspec.json.Encoder().encode

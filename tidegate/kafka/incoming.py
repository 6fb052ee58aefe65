"""Payments and labels as the messages that payment systems send: the reverse of `tidegate.decode`.

A message decodes to the row it was made of, its content's hash included.
"""

from __future__ import annotations

import msgspec

from tidegate.decode import Label, Transaction
from tidegate.schema import OPTIONAL_FIELDS, Batch, Labels, nothing
from tidegate.simulation.files import rfc3339


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
    return [_ENCODE(Transaction(*row)) for row in rows]


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
    return [_ENCODE(Label(*row)) for row in rows]


_ENCODE = msgspec.json.Encoder().encode

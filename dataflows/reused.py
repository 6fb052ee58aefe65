"""Dead letters for transactions whose id was used before, for something else."""

from __future__ import annotations

from typing import Any

import msgspec

from dataflows.messages import CardWork
from tidegate.redaction import redact
from tidegate.schema import (
    OPTIONAL_FIELDS,
    Batch,
    DeadLetters,
    Ints,
    Reason,
    texts,
    to_datetime,
)


def reused(work: CardWork, rows: Ints) -> DeadLetters | None:
    """A dead letter for each of the rows, None when there are none."""
    if not len(rows):
        return None
    batch, origin = work.batch.take(rows), work.origin.take(rows)
    count = len(rows)
    return DeadLetters(
        origin.topic,
        origin.partition,
        origin.offset,
        origin.at,
        texts([str(Reason.ID_REUSED)] * count),
        texts(["transaction_id"] * count),
        texts(["an id of the last 24 hours, with other content"] * count),
        texts([_payload(batch, row) for row in range(count)]),
    )


def _payload(batch: Batch, row: int) -> str:
    # The message itself is gone by now; this is what was read from it.
    message: dict[str, Any] = {
        "transaction_id": batch.transaction_id[row],
        "event_time": to_datetime(int(batch.event_time[row])),
        "amount_minor": int(batch.amount_minor[row]),
        "currency": batch.currency[row],
        "card_token": batch.card_token[row],
        "terminal_id": batch.terminal_id[row],
    }
    # In one order, whatever else is in the batch: a letter is the same however often it is made.
    optional = {name: _extra(batch, name, row) for name in OPTIONAL_FIELDS}
    message |= {name: value for name, value in optional.items() if value is not None}
    return redact(msgspec.json.encode(message))


def _extra(batch: Batch, name: str, row: int) -> Any:
    return batch.extras[name][row] if name in batch.extras else None

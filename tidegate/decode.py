"""JSON messages into batches: what fits the contract as columns, what does not as `Bad`.

No message raises here, whatever bytes it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import numpy as np
import pyarrow as pa

from tidegate import checks
from tidegate.columns import Fault, Faults, TextColumn
from tidegate.redaction import redact
from tidegate.schema import OPTIONAL_FIELDS, Batch, Ints, Labels, Reason

__all__ = ["Bad", "Decoded", "labels", "redact", "transactions"]

T = TypeVar("T", Batch, Labels)

# Both ends as floats are exact; msgspec takes no integer bounds beyond 64 bits.
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Transaction(msgspec.Struct, omit_defaults=True, gc=False):
    """A transaction's fields and their types, as in the contract."""

    transaction_id: str
    event_time: str
    amount_minor: Int64
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


class Label(msgspec.Struct, omit_defaults=True, gc=False):
    """A label's fields and their types, as in the contract."""

    transaction_id: str
    fraud: bool
    source: str
    labelled_at: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Bad:
    """A message that breaks the contract.

    index: its place among the payloads given; field: the field at fault, if it is one; detail:
    one line; payload: redacted, at most 4,096 characters.
    """

    index: int
    reason: Reason
    field: str | None
    detail: str
    payload: str

    def moved(self, by: int) -> Bad:
        """The same among payloads that begin so many later."""
        return replace(self, index=self.index - by)


@dataclass(frozen=True, slots=True)
class Decoded(Generic[T]):
    """What a sequence of payloads held.

    rows: the good ones, in order; index: the place of each among the payloads; bad: the others,
    in order.
    """

    rows: T
    index: Ints
    bad: list[Bad]


def transactions(payloads: Sequence[bytes]) -> Decoded[Batch]:
    """Decodes and checks transactions; never raises for what a payload holds."""
    messages, index, broken = _parse(payloads, _TRANSACTION, Transaction)
    texts = {
        name: TextColumn.of([getattr(m, name) for m in messages])
        for name in checks.REQUIRED_FIELDS
        if name not in ("event_time", "amount_minor")
    }
    numbers: dict[str, pa.DoubleArray] = {}
    attributes: list[dict[str, Any] | None] | None = None
    for name in OPTIONAL_FIELDS:
        given = [getattr(m, name) for m in messages]
        if given.count(None) == len(given):
            continue
        if name in checks.BOUNDS:
            numbers[name] = pa.array(given, pa.float64())
        elif name == "attributes":
            attributes = given
        else:
            texts[name] = TextColumn.of(given)
    faults = Faults(len(messages))
    rows, good = checks.transactions(
        checks.TransactionColumns(
            texts=texts,
            event_time=pa.array([m.event_time for m in messages], pa.string()),
            amount_minor=np.array([m.amount_minor for m in messages], dtype=np.int64),
            numbers=numbers,
            attributes=attributes,
        ),
        faults,
    )
    return Decoded(rows, index[good], _bad(payloads, index, broken, faults))


def labels(payloads: Sequence[bytes]) -> Decoded[Labels]:
    """Decodes and checks labels; never raises for what a payload holds."""
    messages, index, broken = _parse(payloads, _LABEL, Label)
    faults = Faults(len(messages))
    rows, good = checks.labels(
        {
            name: TextColumn.of([getattr(m, name) for m in messages])
            for name in ("transaction_id", "source", "reason")
        },
        pa.array([m.labelled_at for m in messages], pa.string()),
        np.array([m.fraud for m in messages], dtype=np.bool_),
        faults,
    )
    return Decoded(rows, index[good], _bad(payloads, index, broken, faults))


_TRANSACTION = msgspec.json.Decoder(Transaction)
_LABEL = msgspec.json.Decoder(Label)
_ANY = msgspec.json.Decoder()

S = TypeVar("S", Transaction, Label)


def _parse(
    payloads: Sequence[bytes], decoder: msgspec.json.Decoder[S], kind: type[S]
) -> tuple[list[S], Ints, dict[int, Fault]]:
    """The messages whose types fit, the place of each, and what is wrong with the others."""
    messages: list[S] = []
    broken: dict[int, Fault] = {}
    decode = decoder.decode
    for place, payload in enumerate(payloads):
        try:
            # As text, because msgspec skips unknown fields without looking at their UTF-8.
            messages.append(decode(payload.decode()))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            broken[place] = _explain(payload, kind)
    index = np.arange(len(payloads), dtype=np.int64)
    if broken:
        index = np.delete(index, list(broken))
    return messages, index, broken


def _explain(payload: bytes, kind: type[msgspec.Struct]) -> Fault:
    """Why a payload is not of this kind; called only for one that is not."""
    try:
        value = _ANY.decode(payload.decode())
    except UnicodeDecodeError as ex:
        return Fault(Reason.MALFORMED, None, f"not UTF-8: {ex.reason} at byte {ex.start}")
    except msgspec.ValidationError as ex:  # JSON, with a number that nothing here can hold
        return Fault(Reason.OUT_OF_RANGE, None, str(ex))
    except (msgspec.MsgspecError, ValueError) as ex:
        return Fault(Reason.MALFORMED, None, f"not JSON: {ex}")
    except RecursionError:
        return Fault(Reason.MALFORMED, None, "nested too deeply")
    if not isinstance(value, dict):
        return Fault(Reason.MALFORMED, None, "JSON, but not an object")
    fields = msgspec.structs.fields(kind)
    for field in fields:
        if field.required and value.get(field.name) is None:
            return Fault(Reason.MISSING_FIELD, field.name, "required")
        try:
            msgspec.convert(value.get(field.name), field.type)
        except (msgspec.MsgspecError, RecursionError) as ex:
            if field.type == Int64 and type(value[field.name]) is int:
                return Fault(Reason.OUT_OF_RANGE, field.name, "does not fit 64 bits")
            return Fault(Reason.WRONG_TYPE, field.name, str(ex))
    return Fault(Reason.MALFORMED, None, "JSON that cannot be read as a message")


def _bad(
    payloads: Sequence[bytes], index: Ints, broken: dict[int, Fault], faults: Faults
) -> list[Bad]:
    found = broken | {int(index[row]): fault for row, fault in faults.first.items()}
    return [Bad(place, *found[place], redact(payloads[place])) for place in sorted(found)]

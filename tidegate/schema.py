"""What flows through Tidegate, as columns: transactions, labels, examples, decisions, dead letters.

Every process speaks in these types. A batch is a set of equally long columns, one entry a row:
text columns are numpy object arrays of `str`, times are int64 microseconds since 1970-01-01 UTC,
amounts are int64 in minor units of their currency. Rows are checked before they become a batch
(`tidegate.decode`, `tidegate.readers`), so nothing behind the edge checks them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Self

import numpy as np
import numpy.typing as npt

Texts = npt.NDArray[np.object_]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]
Features = npt.NDArray[np.float32]

SECOND = 1_000_000  # microseconds
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# Of the models, and of what is measured of them.
CHAMPION = "champion"  # serves until another one is promoted
TRIAL = "trial_"  # what the names of metrics of trials begin with
SUSPENDED = "suspended"  # of a model that was: what it took, of what it took too much

OPTIONAL_FIELDS = (
    "merchant_id",
    "customer_id",
    "mcc",
    "merchant_country",
    "acquirer_country",
    "pos_entry_mode",
    "channel",
    "device_id",
    "ip",
    "latitude",
    "longitude",
    "attributes",
)


class BadMessage(ValueError):
    """A message that breaks the contract; it becomes a dead letter.

    reason: one of `Reason`; field: the field at fault or None; detail: one line that never repeats
    a value that may be a card number.
    """

    def __init__(self, reason: Reason, field: str | None, detail: str) -> None:
        super().__init__(f"{reason}: {field or 'message'}: {detail}")
        self.reason = reason
        self.field = field
        self.detail = detail


class Reason(StrEnum):
    """Why a message became a dead letter."""

    MALFORMED = "malformed"  # not JSON, not an object, not UTF-8, a line of another shape
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"  # too short, too long, a coordinate off the globe
    BAD_TIME = "bad_time"
    TIME_WITHOUT_OFFSET = "time_without_offset"
    UNKNOWN_CURRENCY = "unknown_currency"
    NEGATIVE_AMOUNT = "negative_amount"
    CARD_NUMBER = "card_number"  # a primary account number where a token belongs
    UNKNOWN_VALUE = "unknown_value"  # not one of a closed list (channel, label source)
    REFUSED = "refused"  # an outgoing message that Kafka did not take: too large, not allowed
    ID_REUSED = "id_reused"  # a transaction id seen within 24 hours, with other content


class Decision(IntEnum):
    """What the policy says of a payment; stored by name, `Decision.REVIEW.name.lower()`."""

    APPROVE = 0
    REVIEW = 1
    DECLINE = 2


class View(IntEnum):
    """What is believed of a transaction at some moment of the stream."""

    UNKNOWN = -1
    GENUINE = 0
    FRAUD = 1


@dataclass(frozen=True, slots=True)
class Columns:
    """Equally long columns, some of which may be sets of columns themselves; the first one tells
    the number of rows."""

    def __len__(self) -> int:
        return len(getattr(self, next(iter(self.__dataclass_fields__))))

    def take(self, rows: Ints | Bools) -> Self:
        """The given rows, by index or by mask, in the order given."""
        values: list[object] = []
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                value = value[rows]
            elif isinstance(value, Mapping):
                value = {key: extra[rows] for key, extra in value.items()}
            elif isinstance(value, Columns):
                value = value.take(rows)
            values.append(value)
        return type(self)(*values)

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, in order. Takes at least one part; anything that is no column is
        the first part's."""
        first = parts[0]
        if len(parts) == 1:
            return first
        changed: dict[str, object] = {}
        for column in fields(first):
            value = getattr(first, column.name)
            if isinstance(value, np.ndarray):
                changed[column.name] = np.concatenate([getattr(p, column.name) for p in parts])
            elif isinstance(value, Mapping):
                names = sorted({name for p in parts for name in getattr(p, column.name)})
                changed[column.name] = {
                    name: np.concatenate(
                        [getattr(p, column.name).get(name, nothing(len(p))) for p in parts]
                    )
                    for name in names
                }
            elif isinstance(value, Columns):
                changed[column.name] = value.concat([getattr(p, column.name) for p in parts])
        return replace(first, **changed)


def nothing(rows: int) -> Texts:
    """An object column of `rows` times None."""
    return np.full(rows, None, dtype=object)


def texts(values: Sequence[object]) -> Texts:
    """An object column of the values (numpy would make fixed-width text or guess a dtype)."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


@dataclass(frozen=True, slots=True)
class Batch(Columns):
    """Transactions, checked. `extras` holds the optional fields that any row has, None elsewhere;
    `content` is a hash of a row's whole content, which tells a repeat from an id used again."""

    transaction_id: Texts
    event_time: Ints  # microseconds since the epoch
    amount_minor: Ints  # minor units of the currency
    currency: Texts  # ISO 4217 code
    card_token: Texts
    terminal_id: Texts
    content: Hashes
    extras: Mapping[str, Texts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Labels(Columns):
    """What became known of transactions. The newest `labelled_at` of a transaction stands."""

    transaction_id: Texts
    labelled_at: Ints  # microseconds since the epoch
    fraud: Bools
    source: Texts  # chargeback, issuer, customer or analyst
    reason: Texts  # str or None


@dataclass(frozen=True, slots=True)
class Served(Columns):
    """Transactions that were decided, with what was served for them: read back for learning."""

    transaction_id: Texts
    event_time: Ints
    card_token: Texts
    terminal_id: Texts
    features: Features  # (rows, number of features)
    log_odds: Ints
    stream_time: Ints  # of the stream when they were decided
    declined: Bools
    propensity: npt.NDArray[np.float32]  # as in `Decisions`


@dataclass(frozen=True, slots=True)
class Examples(Columns):
    """Transactions of which something became known, with what was served for them.

    `before` is the `View` held until now, `fraud` the one held from now on; the profiles count a
    row where the two differ. `weight` is how much the learners make of it: 0 for nothing. `stands`
    is for how many payments it stands, itself among them, where the model is judged: more than one
    in a control group, 0 where others stand for it.
    """

    transaction_id: Texts
    event_time: Ints
    card_token: Texts
    terminal_id: Texts
    features: Features  # (rows, number of features), as served
    log_odds: Ints  # as served, fixed point (`models.champion.ONE`)
    before: npt.NDArray[np.int8]
    fraud: Bools
    weight: npt.NDArray[np.float32]
    stands: Ints

    @property
    def corrected(self) -> Bools:
        """Which of them were held to be the other of genuine and fraud."""
        corrected: Bools = (self.before != View.UNKNOWN) & (self.before != self.fraud)
        return corrected


@dataclass(frozen=True, slots=True)
class DeadLetters(Columns):
    """Messages that could not be taken, and where they came from."""

    topic: Texts  # the topic, or the file's name
    partition: Ints
    offset: Ints  # the offset, or the row of the file from 0
    at: Ints  # the broker's time, or the file's modification time; never the time of reading
    reason: Texts  # Reason
    field: Texts  # str or None
    detail: Texts
    payload: Texts  # redacted, at most 4,096 characters


@dataclass(frozen=True, slots=True)
class Decisions(Columns):
    """Scored transactions as they are stored: inputs, score and reasons.

    `reasons` holds a list of `{code, weight, text}` for every decision but approve, else [].
    """

    batch: Batch
    features: Features
    log_odds: Ints  # fixed point, sums of the version's integer weights
    score: npt.NDArray[np.float64]  # probability, 0 to 1
    decision: npt.NDArray[np.int8]  # Decision
    propensity: npt.NDArray[np.float32]  # probability that one of this score is not declined
    reasons: Texts
    scored_at: int  # microseconds since the epoch, wall clock
    stream_time: int  # microseconds since the epoch: what was known by then was used, nothing later
    model_version: str  # SHA-256 of the version's content, hexadecimal
    policy_version: str

    def __len__(self) -> int:
        return len(self.batch)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A published model: its portable content and what it had learned from."""

    version: str  # SHA-256 of the content, hexadecimal
    name: str
    stream_time: int  # microseconds since the epoch: the event time it knows labels up to
    content: bytes
    examples: int
    frauds: int


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured value of a model at one moment of the stream."""

    name: str  # the model's
    metric: str
    at: int  # microseconds since the epoch
    value: float
    examples: int  # how many labelled transactions it rests on


def to_micros(at: datetime) -> int:
    """An aware datetime as microseconds since the epoch, exact (no float in between)."""
    delta = at.astimezone(UTC) - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds


def to_datetime(micros: int) -> datetime:
    """Microseconds since the epoch as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=int(micros))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

"""What payment systems send into Kafka, as it comes in life: payments and late labels, and among
them repeats, labels that come too early, twice or against each other, and messages that are wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from tests.dataflows.streams import frauds, late_labels, simulated
from tidegate.schema import DAY, HOUR, MINUTE, SECOND, Batch, Labels
from tidegate.simulation.files import rfc3339

WEEK = 7 * DAY

Row = dict[str, Any]

_encode: Callable[[Row], bytes] = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Message:
    """One message. at: where in the stream it is sent, microseconds. bad: whether it breaks a
    rule, and so is to become a dead letter."""

    at: int
    labels: bool  # else it is a payment
    key: bytes
    value: bytes | None
    bad: bool = False


@dataclass(frozen=True)
class Traffic:
    """Messages in the order they are sent, and what is to become of them.

    payments: event times by id, of all that are valid. labels: (id, labelled_at, source, fraud).
    """

    messages: tuple[Message, ...]
    payments: Mapping[str, int]
    labels: frozenset[tuple[str, int, str, bool]]

    @property
    def bad(self) -> int:
        """How many messages are to become dead letters."""
        return sum(message.bad for message in self.messages)

    def __len__(self) -> int:
        return len(self.messages)


def world(rows: int, days: int, seed: int, label_days: float | None = None) -> tuple[Batch, Labels]:
    """Simulated payments of the last weeks, all but fresh, and their labels; with label_days, one
    label for each fraud so many days later. Moved by whole weeks, as weekdays matter."""
    batch, told = simulated(rows, days, seed)
    if label_days is not None:
        told = late_labels(batch, frauds(told), label_days)
    now = int(time.time() * SECOND) - 2 * HOUR
    moved = (now - int(batch.event_time[-1])) // WEEK * WEEK
    return (
        replace(batch, event_time=batch.event_time + moved),
        replace(told, labelled_at=told.labelled_at + moved),
    )


def known(batch: Batch, told: Labels) -> Labels:
    """The labels that are known by the last payment; later ones would wait for one that moves the
    stream's time on, or for its silence."""
    return told.take(told.labelled_at < int(batch.event_time[-1]) // HOUR * HOUR)


def traffic(
    batch: Batch,
    told: Labels,
    rng: np.random.Generator,
    *,
    repeats: bool = True,
    odd_labels: bool = True,
) -> Traffic:
    """The payments and the labels that are known by the last one, in order of time, with what goes
    wrong in life. repeats: whether payments may come twice; odd_labels: whether labels are told
    that are not the simulated ones.
    """
    payments = _payments(batch)
    labels = _labels(known(batch, told))
    messages = [_payment(row, at) for row, at in payments]
    messages += [_label(row, at) for row, at in labels]
    said = [row for row, _ in labels]
    messages += _wrong(payments, rng)
    if repeats:
        messages += _repeats(payments, rng)
    if odd_labels:
        odd, more = _odd_labels(payments, rng)
        messages += odd
        said += more
    messages.sort(key=lambda message: message.at)
    times = zip(batch.transaction_id.tolist(), batch.event_time.tolist(), strict=True)
    standing = {
        (row["transaction_id"], _micros(row["labelled_at"]), row["source"], row["fraud"])
        for row in said
    }
    return Traffic(tuple(messages), dict(times), frozenset(standing))


def fresh(rows: int, seed: int, off_by: Sequence[int] = (0,)) -> Traffic:
    """Payments of this very moment, of senders whose clocks are off by so much in turn
    (microseconds), and a label a moment after each tenth."""
    batch, _ = simulated(rows, 2, seed)
    order = np.arange(rows)
    sent = _now() + order * MINUTE // 1000
    off = np.array(off_by)[order % len(off_by)]
    batch = replace(batch, event_time=sent + off)
    messages = [
        _payment(row, at) for (row, _), at in zip(_payments(batch), sent.tolist(), strict=True)
    ]
    said = set()
    for number in range(0, rows, 10):
        at = int(sent[number]) + SECOND
        name, told = str(batch.transaction_id[number]), at + int(off_by[number // 10 % len(off_by)])
        label = {"transaction_id": name, "fraud": number % 20 == 0, "source": "issuer"}
        messages.append(_label(label | {"labelled_at": rfc3339(np.array([told]))[0]}, at))
        said.add((name, told, "issuer", number % 20 == 0))
    messages.sort(key=lambda message: message.at)
    times = zip(batch.transaction_id.tolist(), batch.event_time.tolist(), strict=True)
    return Traffic(tuple(messages), dict(times), frozenset(said))


def _payments(batch: Batch) -> list[tuple[Row, int]]:
    names = ("transaction_id", "amount_minor", "currency", "card_token", "terminal_id")
    columns = {name: getattr(batch, name).tolist() for name in names}
    columns["event_time"] = rfc3339(batch.event_time)
    columns |= {name: column.tolist() for name, column in batch.extras.items()}
    rows = zip(*columns.values(), strict=True)
    return [
        ({n: v for n, v in zip(columns, row, strict=True) if v is not None}, at)
        for row, at in zip(rows, batch.event_time.tolist(), strict=True)
    ]


def _labels(told: Labels) -> list[tuple[Row, int]]:
    rows = zip(
        told.transaction_id.tolist(),
        told.fraud.tolist(),
        told.source.tolist(),
        rfc3339(told.labelled_at),
        told.labelled_at.tolist(),
        strict=True,
    )
    return [
        ({"transaction_id": name, "fraud": fraud, "source": source, "labelled_at": text}, at)
        for name, fraud, source, text, at in rows
    ]


def _payment(row: Row, at: int) -> Message:
    return Message(at, False, str(row["card_token"]).encode(), _encode(row))


def _label(row: Row, at: int) -> Message:
    return Message(at, True, str(row["transaction_id"]).encode(), _encode(row))


def _repeats(payments: Sequence[tuple[Row, int]], rng: np.random.Generator) -> list[Message]:
    """The same payment again: at once, within the day, and when it is long forgotten. Once in a
    while its id comes again with another amount, which is wrong."""
    last = payments[-1][1]
    found = []
    for number in _some(payments, rng, 0.03):
        row, at = payments[number]
        later = at + int(rng.choice([SECOND, MINUTE, 5 * HOUR, 30 * HOUR]))
        if later < last:
            found.append(_payment(row, later))
    for number in _some(payments, rng, 0.002):
        row, at = payments[number]
        other = row | {"amount_minor": row["amount_minor"] + 1}
        found.append(replace(_payment(other, at + MINUTE), bad=True))
    return found


def _odd_labels(
    payments: Sequence[tuple[Row, int]], rng: np.random.Generator
) -> tuple[list[Message], list[Row]]:
    """Labels that come before their payments, twice, or against an earlier one."""
    messages, said = [], []
    for number in _some(payments, rng, 0.01):
        row, at = payments[number]
        fraud = bool(rng.random() < 0.5)
        early = {
            "transaction_id": row["transaction_id"],
            "fraud": fraud,
            "source": "analyst",
            "labelled_at": rfc3339(np.array([at - MINUTE]))[0],
            "reason": "told before the payment came",
        }
        messages.append(_label(early, at - MINUTE))
        said.append(early)
        if rng.random() < 0.5:
            messages.append(_label(early, at + MINUTE))
        if rng.random() < 0.5 and at + 3 * HOUR < payments[-1][1]:
            when = rfc3339(np.array([at + 2 * HOUR]))[0]
            other = early | {"fraud": not fraud, "source": "customer", "labelled_at": when}
            messages.append(_label(other, at + 2 * HOUR))
            said.append(other)
    return messages, said


_CARD_NUMBER = "4111111111111111"

Spoil = Callable[[Row], bytes | None]

_BAD_PAYMENTS: tuple[Spoil, ...] = (
    lambda row: None,  # a tombstone
    lambda row: b"",
    lambda row: _encode(row)[:-7],
    lambda row: b"\xff\xfe" + _encode(row),
    lambda row: b'["not", "an", "object"]',
    lambda row: b"[" * 5000,
    lambda row: _encode({n: v for n, v in row.items() if n != "terminal_id"}),
    lambda row: _encode(row | {"amount_minor": "12.50"}),
    lambda row: _encode(row | {"amount_minor": -1}),
    lambda row: _encode(row).replace(b'"amount_minor":', b'"amount_minor":99999999999999999999'),
    lambda row: _encode(row | {"currency": "XYZ"}),
    lambda row: _encode(row | {"event_time": "yesterday"}),
    lambda row: _encode(row | {"event_time": "2026-01-01T00:00:00"}),
    lambda row: _encode(row | {"event_time": rfc3339(np.array([_now() + 2 * DAY]))[0]}),
    lambda row: _encode(row | {"card_token": _CARD_NUMBER}),
    lambda row: _encode(row | {"transaction_id": "x" * 65}),
    lambda row: _encode(row | {"terminal_id": "a\x00b"}),
    lambda row: _encode(row | {"latitude": 91.0}),
)
_BAD_LABELS: tuple[Spoil, ...] = (
    lambda row: None,
    lambda row: b"fraud",
    lambda row: _encode(row | {"fraud": "perhaps"}),
    lambda row: _encode(row | {"source": "rumour"}),
    lambda row: _encode(row | {"labelled_at": rfc3339(np.array([_now() + 2 * DAY]))[0]}),
    lambda row: _encode({n: v for n, v in row.items() if n != "labelled_at"}),
)


def _wrong(payments: Sequence[tuple[Row, int]], rng: np.random.Generator) -> list[Message]:
    """Each kind of wrong message, somewhere; their ids are nobody else's."""
    found = []
    for number, spoil in enumerate(_BAD_PAYMENTS):
        row, at = payments[int(rng.integers(len(payments)))]
        bad = spoil(row | {"transaction_id": f"bad-{number}"})
        found.append(Message(at, False, str(row["card_token"]).encode(), bad, True))
    for number, spoil in enumerate(_BAD_LABELS):
        row, at = payments[int(rng.integers(len(payments)))]
        label = {"transaction_id": f"bad-{number}", "fraud": True, "source": "issuer"}
        bad = spoil(label | {"labelled_at": row["event_time"]})
        found.append(Message(at, True, b"bad", bad, True))
    return found


def _some(payments: Sequence[Any], rng: np.random.Generator, share: float) -> list[int]:
    # Not the last ones: what follows from them is to be sent before the stream ends.
    count = round(len(payments) * share)
    return sorted(rng.choice(len(payments) * 9 // 10, count, replace=False).tolist())


def _now() -> int:
    return int(time.time() * SECOND)


def _micros(text: str) -> int:
    return int(np.datetime64(text.removesuffix("Z"), "us").astype(np.int64))

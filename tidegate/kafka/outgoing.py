"""Decisions, alerts and dead letters as the messages that others read.

A message is made of what is stored and nothing else, so that it is the same however often it is
sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from tidegate.schema import DeadLetters, Decision, Decisions, nothing, to_datetime


class Reason(msgspec.Struct):
    """Why a payment was not approved."""

    code: str
    weight: float
    text: str


class DecisionMessage(msgspec.Struct):
    """What was decided of a payment."""

    transaction_id: str
    event_time: datetime
    score: float  # probability, 0 to 1
    decision: str  # approve, review or decline
    reasons: list[Reason]
    model_version: str
    scored_at: datetime


class AlertMessage(msgspec.Struct):
    """A payment that was not approved; `alert_id` is the same however often it is sent."""

    alert_id: UUID
    transaction_id: str
    event_time: datetime
    amount_minor: int
    currency: str
    card_token: str
    terminal_id: str
    merchant_id: str | None
    score: float
    decision: str
    reasons: list[Reason]
    model_version: str
    scored_at: datetime


class DeadLetterMessage(msgspec.Struct):
    """A message that could not be taken, and where it was."""

    topic: str
    partition: int
    offset: int
    at: datetime
    reason: str
    field: str | None
    detail: str
    payload: str  # redacted


class Stored(NamedTuple):
    """A decision as it is stored; times in microseconds since the epoch."""

    transaction_id: str
    event_time: int
    score: float
    decision: str
    reasons: Sequence[dict[str, Any]]
    model_version: str
    scored_at: int
    amount_minor: int
    currency: str
    card_token: str
    terminal_id: str
    merchant_id: str | None


def stored(part: Decisions) -> Iterator[Stored]:
    """The rows of a part, as they are stored when none of them was there before."""
    batch = part.batch
    merchants = batch.extras.get("merchant_id")
    rows = zip(
        batch.transaction_id.tolist(),
        batch.event_time.tolist(),
        part.score.tolist(),
        part.decision.tolist(),
        part.reasons,
        batch.amount_minor.tolist(),
        batch.currency,
        batch.card_token,
        batch.terminal_id,
        nothing(len(batch)) if merchants is None else merchants,
        strict=True,
    )
    for name, at, score, decision, reasons, amount, currency, card, terminal, merchant in rows:
        yield Stored(
            name,
            at,
            score,
            _NAMES[decision],
            reasons,
            part.model_version,
            part.scored_at,
            amount,
            currency,
            card,
            terminal,
            merchant,
        )


def decision(of: Stored) -> bytes:
    """The decision as a message."""
    return _ENCODE(
        DecisionMessage(
            of.transaction_id,
            to_datetime(of.event_time),
            of.score,
            of.decision,
            _reasons(of),
            of.model_version,
            _moment(of.scored_at),
        )
    )


def alert(of: Stored, alert_id: UUID) -> bytes:
    """The alert of a decision as a message."""
    return _ENCODE(
        AlertMessage(
            alert_id,
            of.transaction_id,
            to_datetime(of.event_time),
            of.amount_minor,
            of.currency,
            of.card_token,
            of.terminal_id,
            of.merchant_id,
            of.score,
            of.decision,
            _reasons(of),
            of.model_version,
            _moment(of.scored_at),
        )
    )


def dead_letters(dead: DeadLetters) -> Iterator[tuple[str, bytes]]:
    """Dead letters as messages, each with its key: topic, partition and offset."""
    rows = zip(
        dead.topic,
        dead.partition.tolist(),
        dead.offset.tolist(),
        dead.at.tolist(),
        dead.reason,
        dead.field,
        dead.detail,
        dead.payload,
        strict=True,
    )
    for topic, partition, offset, at, reason, field, detail, payload in rows:
        message = DeadLetterMessage(
            topic, partition, offset, to_datetime(at), reason, field, detail, payload
        )
        yield f"{topic}:{partition}:{offset}", _ENCODE(message)


_moment = lru_cache(maxsize=8)(to_datetime)  # all decisions of a step are made at one

_ENCODE = msgspec.json.Encoder().encode
_NAMES = [kind.name.lower() for kind in Decision]


def _reasons(of: Stored) -> list[Reason]:
    # In one order of keys, whether they come from the model or back from the database.
    return [Reason(r["code"], float(r["weight"]), r["text"]) for r in of.reasons]

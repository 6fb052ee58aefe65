"""What one request brings in, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.decode import Bad
from tidegate.store.decided import Place
from tidegate.store.queries import StoredDecision


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key: whose, what, and the digest of the request that it stands for."""

    caller: str
    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """A payment that was taken in. repeat: it had been before; decision: where there was one."""

    place: Place
    repeat: bool
    decision: StoredDecision | None


class Refused(Exception):
    """Messages that break the contract; nothing of their request was taken."""

    def __init__(self, bad: Sequence[Bad]) -> None:
        super().__init__(f"{len(bad)} messages break the contract")
        self.bad = bad


class IdReused(Exception):
    """Payments with ids that others had before; nothing of their request was taken. places: of
    the messages in their request."""

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__("the id was used before, for another payment")
        self.places = places


class KeyReused(Exception):
    """The idempotency key stands for another request; nothing of this one was taken."""


class Busy(Exception):
    """Too much waits already; the message says what."""

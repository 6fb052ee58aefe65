"""What replaying a dead letter comes to, wherever its message came from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tidegate import decode
from tidegate.schema import BadMessage, Reason
from tidegate.store.queries import DeadLetter

LARGEST = 65_536  # bytes of a corrected message


class CannotReplay(ValueError):
    """Why a dead letter cannot be replayed as asked; one line that holds nothing of a message."""


class AlreadyReplayed(CannotReplay):
    """It was replayed before, and nobody asked for it to be replayed again."""

    def __init__(self, id: int, at: datetime | None) -> None:
        when = "" if at is None else f" at {at.isoformat(timespec='seconds')}"
        super().__init__(f"dead letter {id} was already replayed{when}: say again to repeat it")


class BadCorrection(CannotReplay):
    """The corrected message breaks the contract, too. reason, field and detail as of a
    `tidegate.schema.BadMessage`."""

    def __init__(self, reason: Reason, field: str | None, detail: str) -> None:
        super().__init__(f"the corrected message is refused: {BadMessage(reason, field, detail)}")
        self.reason = reason
        self.field = field
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Replayed:
    """A dead letter that was replayed, and where its message is now."""

    id: int
    topic: str
    partition: int
    offset: int
    replayed_at: datetime  # aware, UTC


def require_waiting(letter: DeadLetter, *, again: bool) -> None:
    """Raises `AlreadyReplayed` where it was and nobody asks for it again."""
    if letter.replayed_at is not None and not again:
        raise AlreadyReplayed(letter.id, letter.replayed_at)


def check(correction: bytes, *, labels: bool) -> None:
    """Raises `BadCorrection` unless it is a message of the contract: a label's or a payment's."""
    if len(correction) > LARGEST:
        raise BadCorrection(Reason.OUT_OF_RANGE, None, f"longer than {LARGEST:,} bytes")
    bad = decode.labels([correction]).bad if labels else decode.transactions([correction]).bad
    if bad:
        raise BadCorrection(bad[0].reason, bad[0].field, bad[0].detail)

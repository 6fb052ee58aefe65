"""Dead letters of the inbox put there again: the original message, or a corrected one.

The original is not redacted there, so it is taken from its place for as long as it is kept
(`TIDEGATE_RETENTION_INBOX_DAYS`), and goes to the end: a payment's id is in the inbox once. All is
one transaction, so nothing is put without its letter being marked.
"""

from __future__ import annotations

import numpy as np

from tidegate import decode
from tidegate.kafka import incoming
from tidegate.replays import (
    AlreadyReplayed,
    BadCorrection,
    CannotReplay,
    Replayed,
    check,
    require_waiting,
)
from tidegate.schema import Reason
from tidegate.store import dead_letters, inbox
from tidegate.store.connection import Conn
from tidegate.store.queries import DeadLetter

_KINDS = {inbox.topic(kind): kind for kind in inbox.KINDS}


def came_by_inbox(letter: DeadLetter) -> bool:
    """Whether its message came over HTTP, with no Kafka."""
    return letter.topic in _KINDS


def replay(
    conn: Conn, letter: DeadLetter, *, correction: bytes | None, actor: str, again: bool
) -> Replayed:
    """Puts the message of a dead letter of the inbox there again, marks the letter and writes who
    did it, in the transaction that the caller has opened and commits.

    Raises `CannotReplay` (`AlreadyReplayed`, also where somebody else was faster; `BadCorrection`).
    """
    require_waiting(letter, again=again)
    kind = _KINDS[letter.topic]
    if correction is not None:
        check(correction, labels=kind == "labels")
    replayed_at = dead_letters.claim(conn, letter, again=again)
    if replayed_at is None:
        raise AlreadyReplayed(letter.id, None)
    inbox.lock(conn)
    if correction is None:
        number = inbox.move_to_the_end(conn, kind, letter.offset)
        if number is None:
            raise CannotReplay(
                f"the original of dead letter {letter.id} is no longer in the inbox: give the"
                " corrected message"
            )
    elif kind == "payments":
        number = _put_payment(conn, letter, correction)
    else:
        told = decode.labels([correction]).rows
        (number,) = inbox.put_labels(
            conn, told.transaction_id.tolist(), _texts(incoming.labels(told))
        )
    dead_letters.audit_replay(
        conn, letter, actor=actor, topic=letter.topic, partition=letter.partition, offset=number
    )
    return Replayed(letter.id, letter.topic, letter.partition, number, replayed_at)


def _put_payment(conn: Conn, letter: DeadLetter, correction: bytes) -> int:
    batch = decode.transactions([correction]).rows
    inbox.take_out(conn, "payments", letter.offset)  # it may have the same id
    ids = batch.transaction_id.tolist()
    if inbox.contents(conn, ids):
        raise BadCorrection(
            Reason.ID_REUSED, "transaction_id", "another payment in the inbox has it"
        )
    contents = batch.content.view(np.int64).tolist()
    (number,) = inbox.put_payments(conn, ids, contents, _texts(incoming.transactions(batch)))
    return number


def _texts(messages: list[bytes]) -> list[str]:
    return [message.decode() for message in messages]

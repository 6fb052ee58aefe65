"""Dead letters of Kafka sent again: the original message, or a corrected one in its place.

A dead letter keeps its payload redacted, so the original is read again from its topic. Two steps,
for the first may take seconds and needs no database: `prepare` finds the message, `send` sends it
and marks the letter. Where the commit after it fails, the message is there and the letter is not
marked; replayed once more it is a repeat, which the flow knows.
"""

from __future__ import annotations

from tidegate.kafka.single import Headers, Original, Outgoing, Single
from tidegate.replays import AlreadyReplayed, CannotReplay, Replayed, check, require_waiting
from tidegate.schema import to_datetime, to_micros
from tidegate.settings import Topics
from tidegate.store import dead_letters
from tidegate.store.connection import Conn
from tidegate.store.queries import DeadLetter

HEADER = "tidegate-replay"  # its value is the dead letter's id


def prepare(
    letter: DeadLetter, topics: Topics, kafka: Single, *, correction: bytes | None, again: bool
) -> Outgoing:
    """The message to send for a dead letter: the bytes, key and headers of the original, or the
    correction with the original's key if that can still be read.

    Raises `CannotReplay` (`AlreadyReplayed`, `BadCorrection`) and `KafkaFailed`.
    """
    require_waiting(letter, again=again)
    if letter.topic not in (topics.transactions, topics.labels):
        raise CannotReplay(
            f"dead letter {letter.id} is of {letter.topic!r}: only messages of the topics"
            f" {topics.transactions} and {topics.labels} can be replayed"
        )
    if correction is not None:
        check(correction, labels=letter.topic == topics.labels)
    try:
        original = _original(letter, kafka)
    except CannotReplay:
        if correction is None:
            raise
        if not kafka.has(letter.topic):  # a producer might make it, or wait for it in vain
            raise CannotReplay(f"there is no topic {letter.topic} (any more)") from None
        return Outgoing(letter.topic, None, correction, None, _mark([], letter))
    value = original.value if correction is None else correction
    # A correction's headers are its own: the original's may describe its content.
    headers = original.headers if correction is None else []
    # To its own partition: who wrote it may have another way to choose one for a key.
    return Outgoing(letter.topic, letter.partition, value, original.key, _mark(headers, letter))


def send(
    conn: Conn, letter: DeadLetter, message: Outgoing, kafka: Single, *, actor: str, again: bool
) -> Replayed:
    """Sends the message of a dead letter, marks it replayed and writes who did it, in the
    transaction that the caller has opened, and commits at once after it, or rolls back.

    Raises `AlreadyReplayed` where somebody else was faster, and `KafkaFailed`.
    """
    # Marked first: that holds others off, and a database that refuses does so before anything is
    # sent. Nobody sees the mark before the commit.
    replayed_at = dead_letters.claim(conn, letter, again=again)
    if replayed_at is None:
        raise AlreadyReplayed(letter.id, None)
    placed = kafka.send(message)
    dead_letters.audit_replay(
        conn,
        letter,
        actor=actor,
        topic=placed.topic,
        partition=placed.partition,
        offset=placed.offset,
    )
    return Replayed(letter.id, placed.topic, placed.partition, placed.offset, replayed_at)


def _original(letter: DeadLetter, kafka: Single) -> Original:
    """The message that the letter is about. Raises `CannotReplay` where it cannot be had."""
    where = f"{letter.topic} {letter.partition}:{letter.offset}"
    way_out = "give the corrected message"
    if letter.partition < 0 or letter.offset < 0:
        raise CannotReplay(f"dead letter {letter.id} has no original in Kafka: {way_out}")
    original = kafka.read(letter.topic, letter.partition, letter.offset)
    if original is None:
        raise CannotReplay(
            f"the original of dead letter {letter.id} is no longer at {where}: {way_out}"
        )
    if original.at != to_micros(letter.at) // 1000:
        at = "no time" if original.at is None else _shown(original.at)
        raise CannotReplay(
            f"at {where} there is another message now, of {at} and not of"
            f" {_shown(to_micros(letter.at) // 1000)}, so the topic was made anew: {way_out}"
        )
    return original


def _shown(millis: int) -> str:
    try:
        return to_datetime(millis * 1000).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError):  # a producer may give any number
        return f"{millis} ms"


def _mark(headers: Headers, letter: DeadLetter) -> Headers:
    return [*headers, (HEADER, str(letter.id).encode())]

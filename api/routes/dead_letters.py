"""Dead letters: listed, and replayed into Kafka or the inbox."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from api import cursors, declared, kinds, problems
from api.access.guard import Actor
from api.context import Context, Ctx
from api.parameters import DeadLetterId, DeadLetterParameters, ReplayBody, json_only
from api.replies import DeadLetterReply, Page, ReplayReply
from tidegate import inbox_replay
from tidegate.kafka import replay
from tidegate.kafka.single import KafkaFailed, Single
from tidegate.replays import BadCorrection, CannotReplay, Replayed
from tidegate.store import queries
from tidegate.store.queries import DeadLetter, DeadLetterFilter

router = APIRouter(prefix="/v1", tags=["dead letters"])


@router.get("/dead-letters", responses=declared.LISTED)
def list_dead_letters(
    context: Ctx, asked: Annotated[DeadLetterParameters, Query()]
) -> Page[DeadLetterReply]:
    """Messages that could not be taken, last stored first."""
    after = None if asked.after is None else cursors.read_number("dead letter", asked.after)
    which = DeadLetterFilter(**asked.filters())
    with context.pool.connection() as conn:
        found = queries.dead_letters(conn, which, limit=asked.limit + 1, after=after)
    shown, end = cursors.page(found, asked.limit, _cursor)
    return Page(data=[DeadLetterReply.model_validate(letter) for letter in shown], next=end)


# Not asynchronous: it runs in a thread, where it may wait for Kafka.
@router.post(
    "/dead-letters/{dead_letter_id}/replay",
    status_code=202,
    response_model=ReplayReply,
    responses={
        **declared.CHANGED,
        **declared.told(kinds.CONFLICT),
        **declared.told(kinds.UNAVAILABLE, kinds.BUSY, kinds.SWITCHED_OFF, kinds.SCHEMA),
    },
    dependencies=[Depends(json_only)],
)
def replay_dead_letter(
    context: Ctx, actor: Actor, dead_letter_id: DeadLetterId, body: ReplayBody
) -> ReplayReply | Response:
    """Sends the message of a dead letter to its topic, or puts it into the inbox that it came by,
    again: as it was, or corrected.

    202 says that it is there; what becomes of it is seen later. What is stored of a message is
    redacted, so the original is read again from Kafka or the inbox.
    """
    with context.pool.connection() as conn:
        letter = queries.dead_letter(conn, dead_letter_id)
    if letter is None:
        raise problems.missing("dead letter")
    if context.kafka is None and not inbox_replay.came_by_inbox(letter):
        detail = "Kafka is not configured: set TIDEGATE_KAFKA_BROKERS"
        return problems.reply(kinds.SWITCHED_OFF, detail)
    if not context.replays.acquire(blocking=False):
        return problems.reply(kinds.BUSY, "other dead letters are being replayed")
    try:
        done = _replay(context, actor, letter, body)
    except BadCorrection as ex:
        field = "payload" if ex.field is None else f"payload.{ex.field}"
        fault = {"in": "body", "field": field, "detail": f"{ex.reason}: {ex.detail}"}
        return problems.invalid([fault])
    except CannotReplay as ex:
        return problems.reply(kinds.CONFLICT, str(ex))
    except KafkaFailed as ex:
        return problems.reply(kinds.UNAVAILABLE, str(ex))
    finally:
        context.replays.release()
    return ReplayReply.model_validate(done)


def _replay(context: Context, actor: str, letter: DeadLetter, body: ReplayBody) -> Replayed:
    # Half a surrogate pair or NaN, which Python reads, is written as it came and then refused.
    correction = None if body.payload is None else json.dumps(body.payload).encode()
    kafka, again = context.kafka, body.again
    if kafka is None or inbox_replay.came_by_inbox(letter):
        with context.writing() as conn:
            return inbox_replay.replay(
                conn, letter, correction=correction, actor=actor, again=again
            )
    with Single(kafka) as single:
        message = replay.prepare(letter, kafka.topics, single, correction=correction, again=again)
        with context.writing() as conn:
            return replay.send(conn, letter, message, single, actor=actor, again=again)


def _cursor(letter: DeadLetter) -> str:
    return cursors.number("dead letter", letter.id)

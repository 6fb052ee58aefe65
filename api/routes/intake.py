"""Payments and labels that come over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response

from api import declared, kinds, problems
from api.access.guard import Actor
from api.context import Context, Ctx
from api.intake.asked import Busy, IdReused, Key, KeyReused, Refused, Taken
from api.intake.payments import Payments
from api.messages import (
    DECIDED,
    MOST,
    LabelBody,
    LabelsTaken,
    Receipt,
    Receipts,
    TransactionBody,
    one_or_many,
)
from api.parameters import json_only
from tidegate import tracing
from tidegate.kafka.single import KafkaFailed
from tidegate.schema import to_datetime
from tidegate.store.decided import Place
from tidegate.store.queries import StoredDecision

log = logging.getLogger(__name__)


async def _takes(context: Ctx) -> None:
    if not context.takes:
        detail = "this is a demo of payments of its own: `tidegate run` takes others"
        raise problems.Failed(kinds.SWITCHED_OFF, detail)


router = APIRouter(prefix="/v1", tags=["intake"], dependencies=[Depends(_takes)])

LONGEST_WAIT = 10.0  # seconds that a request may wait for its decisions
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,4}(?:\.\d{1,6})?)(?=$|[,;\s])", re.IGNORECASE)

PAYMENT = {
    "transaction_id": "order-4711",
    "event_time": "2026-11-26T12:00:00Z",
    "amount_minor": 4999,
    "currency": "EUR",
    "card_token": "card-7",
    "terminal_id": "terminal-3",
}
LABEL = {
    "transaction_id": "order-4711",
    "fraud": True,
    "source": "chargeback",
    "labelled_at": "2026-12-03T09:00:00Z",
}

TAKEN: declared.Responses = {
    **declared.SENT,
    **declared.told(kinds.UNAVAILABLE, kinds.BUSY, kinds.SCHEMA, kinds.SWITCHED_OFF),
}

IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="the same request again, not another one"),
]
Prefer = Annotated[
    str | None, Header(description="`wait=0.2`: wait so many seconds for the decision, 10 at most")
]


@router.post(
    "/transactions",
    response_model=Receipt | Receipts,
    responses={
        **TAKEN,
        **declared.told(kinds.ID_REUSED, kinds.INVALID, kinds.KEY_REUSED),
        202: {"model": Receipt | Receipts, "description": "Taken, and not all of it decided yet."},
    },
    openapi_extra=one_or_many(TransactionBody, PAYMENT),
    dependencies=[Depends(json_only)],
)
async def take_transactions(
    context: Ctx,
    actor: Actor,
    request: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Receipt | Receipts | Response:
    """Takes a payment in, or up to 1,000: of these all or none.

    200 brings the decisions, 202 says that not all of them are there yet, and where they will be.
    A payment that was sent before, with the same id and content, is answered with the decision
    that was made, and decided once.
    """
    body = await request.body()
    messages, single = split(body)
    key = None
    if idempotency_key is not None:
        key = Key(actor, idempotency_key, hashlib.sha256(body).digest())
    try:
        with tracing.span("take payments", payments=len(messages)):
            asked = Payments(messages, key, tracing.current())
            taken = await asyncio.wrap_future(context.intake.payments(asked))
        with tracing.span("wait for decisions"):
            decided = await _wait_for(context, taken, _seconds(prefer, response))
    except (Refused, IdReused, KeyReused, Busy, KafkaFailed) as ex:
        return _refused(ex, single)
    receipts = [_receipt(one, decided.get(one.place)) for one in taken]
    if log.isEnabledFor(logging.DEBUG):
        for receipt in receipts:
            told = {"transaction_id": receipt.transaction_id, "status": receipt.status}
            log.debug("taken", extra={**told, "repeat": receipt.repeat})
    if any(receipt.status == "accepted" for receipt in receipts):
        response.status_code = 202
    if not single:
        return Receipts(data=receipts)
    if response.status_code == 202:
        response.headers["Location"] = receipts[0].href
    return receipts[0]


@router.post(
    "/labels",
    status_code=202,
    response_model=LabelsTaken,
    responses=TAKEN,
    openapi_extra=one_or_many(LabelBody, LABEL),
    dependencies=[Depends(json_only)],
)
async def take_labels(context: Ctx, request: Request) -> LabelsTaken | Response:
    """Takes a label in, or up to 1,000: of these all or none. One that was sent before changes
    nothing; of several for a payment the one with the newest `labelled_at` stands."""
    messages, single = split(await request.body())
    try:
        count = await asyncio.wrap_future(context.intake.labels(messages))
    except (Refused, Busy, KafkaFailed) as ex:
        return _refused(ex, single)
    return LabelsTaken(accepted=count)


def split(body: bytes) -> tuple[list[bytes], bool]:
    """The messages of a body, and whether it is one alone. Raises `problems.Invalid`."""
    if not body.lstrip(b" \t\r\n").startswith(b"["):
        return [body], True
    try:
        messages = [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as ex:
        raise problems.Invalid("body", "body", f"not JSON: {ex}") from ex
    if not 1 <= len(messages) <= MOST:
        raise problems.Invalid("body", "body", f"1 to {MOST} messages are taken")
    return messages, False


def _seconds(prefer: str | None, response: Response) -> float:
    """How long is to be waited, which the response is told."""
    found = None if prefer is None else _WAIT.search(prefer)
    if found is None:
        return 0.0
    seconds = min(float(found[1]), LONGEST_WAIT)
    response.headers["Preference-Applied"] = f"wait={seconds:g}"
    return seconds


async def _wait_for(
    context: Context, taken: Sequence[Taken], seconds: float
) -> dict[Place, StoredDecision]:
    """The decisions that are there within so many seconds."""
    found = {one.place: one.decision for one in taken if one.decision is not None}
    missing = {one.place for one in taken}.difference(found)
    if not missing or seconds <= 0:
        return found
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def decided(place: Place, decision: StoredDecision) -> None:
        found[place] = decision
        missing.discard(place)
        if not missing:
            done.set()

    def tell(place: Place, decision: StoredDecision) -> None:  # in another thread
        loop.call_soon_threadsafe(decided, place, decision)

    waiting, asked = context.intake.waiting, tuple(missing)
    waiting.tell(asked, tell)
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        pass
    finally:
        waiting.forget(asked, tell)
    return found


def _receipt(taken: Taken, decision: StoredDecision | None) -> Receipt:
    id, at = taken.place
    told = {} if decision is None else {name: getattr(decision, name) for name in DECIDED}
    return Receipt(
        transaction_id=id,
        event_time=to_datetime(at),
        status="accepted" if decision is None else "decided",
        repeat=taken.repeat,
        href=f"/v1/decisions/{quote(id)}",
        **told,
    )


def _refused(ex: Exception, single: bool) -> Response:
    if isinstance(ex, Refused):
        return problems.invalid(
            [
                {
                    "in": "body",
                    "field": _field(None if single else bad.index, bad.field),
                    "detail": f"{bad.reason}: {bad.detail}",
                }
                for bad in ex.bad
            ]
        )
    if isinstance(ex, IdReused):
        faults = [
            {
                "in": "body",
                "field": _field(None if single else place, "transaction_id"),
                "detail": "was used before, for another payment",
            }
            for place in ex.places
        ]
        return problems.reply(kinds.ID_REUSED, str(ex), errors=faults)
    if isinstance(ex, KeyReused):
        fault = {"in": "header", "field": "Idempotency-Key", "detail": "stands for another request"}
        return problems.reply(kinds.KEY_REUSED, str(ex), errors=[fault])
    return problems.reply(kinds.BUSY if isinstance(ex, Busy) else kinds.UNAVAILABLE, str(ex))


def _field(place: int | None, field: str | None) -> str:
    parts = [str(part) for part in (place, field) if part is not None]
    return ".".join(parts) or "body"

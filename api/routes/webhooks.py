"""Webhooks: where events are sent to, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.responses import Response

from api import cursors, declared, dispatching, etags, kinds, problems, signing
from api.access.guard import Actor
from api.context import Ctx
from api.parameters import NoBody, Paged, json_only
from api.replies import Page
from api.targets import BadTarget
from api.webhook_bodies import (
    DeliveryReply,
    NewWebhook,
    WebhookChanges,
    WebhookReply,
    WebhookWithSecret,
)
from tidegate.store import deliveries, webhooks
from tidegate.store.connection import Conn
from tidegate.store.deliveries import Delivery, NoSuchDelivery, Waiting
from tidegate.store.webhooks import Changed, NoSuchWebhook, TooMany, Webhook

router = APIRouter(prefix="/v1", tags=["webhooks"])

IfMatch = Annotated[
    str | None, Header(description="needed: the `ETag` of the webhook as it was read")
]
DeliveryId = Annotated[int, Path(ge=1, le=2**63 - 1)]

MADE: declared.Responses = {
    **declared.SENT,
    **declared.told(kinds.CONFLICT),
    201: etags.TOLD,
}
SENT: declared.Responses = {**declared.CHANGED, **declared.told(kinds.CONFLICT)}


@router.get("/webhooks", responses=declared.LISTED)
def list_webhooks(context: Ctx, asked: Annotated[Paged, Query()]) -> Page[WebhookReply]:
    """Webhooks, newest first."""
    after = None if asked.after is None else cursors.read_at_uuid("webhook", asked.after)
    with context.pool.connection() as conn:
        found = webhooks.page(conn, limit=asked.limit + 1, after=after)
    shown, end = cursors.page(found, asked.limit, _cursor)
    return Page(data=[WebhookReply.model_validate(one) for one in shown], next=end)


@router.post(
    "/webhooks",
    status_code=201,
    response_model=WebhookWithSecret,
    responses=MADE,
    dependencies=[Depends(json_only)],
)
def create_webhook(
    context: Ctx, actor: Actor, response: Response, body: NewWebhook
) -> WebhookWithSecret | Response:
    """Makes a webhook, and shows its secret this once."""
    secret = signing.new_secret()
    try:
        context.targets.check(body.url)
        with context.writing() as conn:
            made = webhooks.create(
                conn,
                body.url,
                body.description,
                body.kinds,
                secret=context.sealer.seal(secret),
                actor=actor,
            )
    except BadTarget as ex:
        return _bad_url(ex)
    except TooMany as ex:
        return problems.reply(kinds.CONFLICT, str(ex))
    return _with_secret(response, made, secret)


@router.get(
    "/webhooks/{webhook_id}",
    response_model=WebhookReply,
    responses={**declared.FETCHED, **etags.READ},
)
def get_webhook(
    context: Ctx,
    response: Response,
    webhook_id: UUID,
    if_none_match: etags.IfNoneMatch = None,
) -> WebhookReply | Response:
    """One webhook."""
    with context.pool.connection() as conn, _found():
        found = webhooks.get(conn, webhook_id)
    return etags.not_modified(if_none_match, found.version) or _shown(response, found)


@router.patch(
    "/webhooks/{webhook_id}",
    response_model=WebhookReply,
    responses={**declared.MATCHED, 200: etags.TOLD},
    dependencies=[Depends(json_only)],
)
def change_webhook(
    context: Ctx,
    actor: Actor,
    response: Response,
    webhook_id: UUID,
    body: WebhookChanges,
    if_match: IfMatch = None,
) -> WebhookReply | Response:
    """Changes a webhook, if nobody else did since it was read."""
    changes = body.changes()
    try:
        if "url" in changes:
            context.targets.check(changes["url"])
    except BadTarget as ex:
        return _bad_url(ex)
    with context.writing() as conn, _found():
        version = _seen(conn, webhook_id, if_match)
        changed = webhooks.change(conn, webhook_id, version, changes, actor=actor)
    return _shown(response, changed)


@router.delete("/webhooks/{webhook_id}", status_code=204, responses=declared.MATCHED)
def delete_webhook(
    context: Ctx, actor: Actor, webhook_id: UUID, if_match: IfMatch = None
) -> Response:
    """Takes a webhook away, with its deliveries, if nobody changed it since it was read."""
    with context.writing() as conn, _found():
        version = _seen(conn, webhook_id, if_match)
        webhooks.delete(conn, webhook_id, version, actor=actor)
    return Response(status_code=204)


@router.post(
    "/webhooks/{webhook_id}/rotate",
    response_model=WebhookWithSecret,
    responses={**declared.MATCHED, 200: etags.TOLD},
    dependencies=[Depends(json_only)],
)
def rotate_secret(
    context: Ctx,
    actor: Actor,
    response: Response,
    webhook_id: UUID,
    body: NoBody,
    if_match: IfMatch = None,
) -> WebhookWithSecret:
    """Makes another secret and shows it this once; the one of before also signs for 24 hours."""
    secret = signing.new_secret()
    with context.writing() as conn, _found():
        version = _seen(conn, webhook_id, if_match)
        sealed = context.sealer.seal(secret)
        changed = webhooks.rotate(conn, webhook_id, version, secret=sealed, actor=actor)
    return _with_secret(response, changed, secret)


@router.get("/webhooks/{webhook_id}/deliveries", responses=declared.FETCHED)
def list_deliveries(
    context: Ctx, webhook_id: UUID, asked: Annotated[Paged, Query()]
) -> Page[DeliveryReply]:
    """What was sent to a webhook, or is still to be, newest first."""
    after = None if asked.after is None else cursors.read_number("delivery", asked.after)
    with context.pool.connection() as conn, _found():
        found = deliveries.page(conn, webhook_id, limit=asked.limit + 1, after=after)
        if not found:
            webhooks.get(conn, webhook_id)
    shown, end = cursors.page(found, asked.limit, _delivery_cursor)
    return Page(data=[DeliveryReply.model_validate(one) for one in shown], next=end)


@router.post(
    "/webhooks/{webhook_id}/test",
    status_code=202,
    response_model=DeliveryReply,
    responses=SENT,
    dependencies=[Depends(json_only)],
)
def test_webhook(
    context: Ctx, actor: Actor, webhook_id: UUID, body: NoBody
) -> DeliveryReply | Response:
    """Sends one `ping`, and does not repeat it; what became of it is among the deliveries."""
    event_id, content = dispatching.ping()
    with context.writing() as conn, _found():
        if webhooks.get(conn, webhook_id).status != "enabled":
            return problems.reply(kinds.CONFLICT, "the webhook is disabled")
        made = deliveries.ping(conn, webhook_id, event_id, content, actor=actor)
    context.wake()
    return DeliveryReply.model_validate(made)


@router.post(
    "/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    response_model=DeliveryReply,
    responses=SENT,
    dependencies=[Depends(json_only)],
)
def redeliver(
    context: Ctx, actor: Actor, webhook_id: UUID, delivery_id: DeliveryId, body: NoBody
) -> DeliveryReply | Response:
    """Sends once more what was delivered, or given up, with the same id and body."""
    try:
        with context.writing() as conn, _found():
            if webhooks.get(conn, webhook_id).status != "enabled":
                return problems.reply(kinds.CONFLICT, "the webhook is disabled")
            again = deliveries.repeat(conn, webhook_id, delivery_id, actor=actor)
    except Waiting:
        return problems.reply(kinds.CONFLICT, "it is still to be sent")
    except NoSuchDelivery as ex:
        raise problems.missing("delivery") from ex
    context.wake()
    return DeliveryReply.model_validate(again)


@contextmanager
def _found() -> Iterator[None]:
    try:
        yield
    except NoSuchWebhook as ex:
        raise problems.missing("webhook") from ex
    except Changed as ex:
        raise etags.changed(ex, ex.webhook.version) from ex


def _seen(conn: Conn, webhook_id: UUID, if_match: str | None) -> int:
    """The version that was seen, which is the one of now. Raises Changed and NoSuchWebhook."""
    seen = etags.needed(if_match, "webhook")
    found = webhooks.get(conn, webhook_id)
    if not etags.same_strongly(seen, etags.of(found.version)):
        raise Changed(found)
    return found.version


def _bad_url(ex: BadTarget) -> Response:
    return problems.invalid([{"in": "body", "field": "url", "detail": str(ex)}])


def _shown(response: Response, webhook: Webhook) -> WebhookReply:
    response.headers["ETag"] = etags.of(webhook.version)
    return WebhookReply.model_validate(webhook)


def _with_secret(response: Response, webhook: Webhook, secret: str) -> WebhookWithSecret:
    shown = _shown(response, webhook)
    return WebhookWithSecret(**shown.model_dump(), secret=secret)


def _cursor(webhook: Webhook) -> str:
    return cursors.at_id("webhook", webhook.created_at, str(webhook.webhook_id))


def _delivery_cursor(delivery: Delivery) -> str:
    return cursors.number("delivery", delivery.delivery_id)

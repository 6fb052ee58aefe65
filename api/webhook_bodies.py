"""What requests about webhooks hold, and what they are answered with."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.replies import Reply
from api.targets import LONGEST_URL
from tidegate.store.webhooks import KINDS, Changes

Kind = Literal["alert.created", "alert.changed"]


def _each_once(kinds: list[Kind]) -> list[Kind]:
    if len(set(kinds)) < len(kinds):
        raise ValueError("each kind once")
    return sorted(kinds, key=KINDS.index)


Kinds = Annotated[
    list[Kind],
    Field(min_length=1, max_length=len(KINDS), json_schema_extra={"uniqueItems": True}),
    AfterValidator(_each_once),
]
Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_URL,
        pattern=r"^https?://[\x21-\x7e]+$",
        description="https, and not into a private network",
    ),
]
Description = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")]


def _left_out() -> Any:
    return None


class NewWebhook(BaseModel):
    """Where events are to be sent to."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    description: Description = ""
    kinds: Kinds = Field(["alert.created", "alert.changed"], description="of events")


class WebhookChanges(BaseModel):
    """What a webhook is to be; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    # No default that the description would tell: null is none of these.
    url: Url = Field(default_factory=_left_out)
    description: Description = Field(default_factory=_left_out)
    kinds: Kinds = Field(default_factory=_left_out)
    status: Literal["enabled", "disabled"] = Field(default_factory=_left_out)

    def changes(self) -> Changes:
        """What was given."""
        return cast(Changes, self.model_dump(exclude_unset=True))


class WebhookReply(Reply):
    """Where events are sent to."""

    webhook_id: UUID
    url: str
    description: str
    kinds: list[str]
    status: str
    disabled_because: str | None = Field(description="where nobody did it but Tidegate itself")
    version: int = Field(description="counts changes, from 1; in quotes it is the ETag")
    created_at: datetime
    created_by: str
    changed_at: datetime | None = Field(description="null: never")
    enabled_at: datetime = Field(description="events from here on are sent")
    delivered_at: datetime | None = Field(description="the newest success, to a minute")
    failing_since: datetime | None = Field(description="null: the newest delivery was taken")
    previous_until: datetime | None = Field(description="until then the secret before signs, too")


class WebhookWithSecret(WebhookReply):
    """The same with its secret, which is shown this once."""

    secret: str = Field(description="what its deliveries are signed with; it is not shown again")


class DeliveryReply(Reply):
    """One event for one webhook, and what became of it."""

    delivery_id: int
    webhook_id: UUID
    event_id: str = Field(description="`Tidegate-Event-Id`: the same however often it is sent")
    kind: str
    alert_id: UUID | None
    state: str = Field(description="pending, delivered or failed")
    attempts: int
    at: datetime = Field(description="when it was made")
    next_at: datetime | None = Field(description="of a pending one: when it is due")
    tried_at: datetime | None
    status_code: int | None = Field(description="of the newest answer; null: there was none")
    error: str | None = Field(description="why the newest try failed")
    seconds: float | None = Field(description="that the newest try took")

"""Payments and labels as their requests bring them, for the description of the API, and what comes
back. The contract itself is checked by `tidegate.decode`, as that of Kafka's messages."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from api.replies import ReasonReply, Reply
from tidegate import checks
from tidegate.attributes import MOST_BYTES, MOST_DEPTH

MOST = 1000  # payments or labels of one request

# As `tidegate.checks` has it; that a text must be no card number, JSON Schema cannot say.
_PRINTED = r"^[^\x00-\x1f\x7f-\x9f]+$"
Id = Annotated[str, Field(min_length=1, max_length=checks.ID_CHARACTERS, pattern=_PRINTED)]
Name = Annotated[str, Field(min_length=1, max_length=checks.TEXT_CHARACTERS, pattern=_PRINTED)]
Country = Annotated[str, Field(pattern=checks.SHAPES["merchant_country"][0])]


class TransactionBody(BaseModel):
    """A payment to be scored."""

    transaction_id: Id
    event_time: datetime = Field(description="RFC 3339 with offset; at most a day ahead")
    amount_minor: int = Field(ge=0, le=2**63 - 1, description="minor units of the currency")
    currency: str = Field(
        description="ISO 4217", json_schema_extra={"enum": [*sorted(checks.CURRENCIES)]}
    )
    card_token: Name = Field(description="never a card number: those are refused")
    terminal_id: Name
    merchant_id: Name | None = None
    customer_id: Name | None = None
    mcc: Annotated[str, Field(pattern=checks.SHAPES["mcc"][0])] | None = None
    merchant_country: Country | None = None
    acquirer_country: Country | None = None
    pos_entry_mode: Name | None = None
    channel: Literal["pos", "ecom", "atm", "transfer"] | None = None
    device_id: Name | None = None
    ip: Name | None = None
    latitude: float | None = Field(None, ge=-90, le=90)
    longitude: float | None = Field(None, ge=-180, le=180)
    attributes: dict[str, Any] | None = Field(
        None,
        description=f"at most {MOST_BYTES:,} bytes of JSON, {MOST_DEPTH} levels deep",
    )


class LabelBody(BaseModel):
    """What became known of a payment."""

    transaction_id: Id
    fraud: bool
    source: Literal["chargeback", "issuer", "customer", "analyst"]
    labelled_at: datetime = Field(description="RFC 3339 with offset")
    reason: Name | None = None


class Receipt(Reply):
    """A payment that was taken in, with its decision once there is one."""

    transaction_id: str
    event_time: datetime
    status: Literal["accepted", "decided"]
    repeat: bool = Field(description="whether it had been taken in before")
    href: str = Field(description="where the decision is, or will be")
    decision: Literal["approve", "review", "decline"] | None = None
    score: float | None = Field(None, description="probability of fraud, 0 to 1")
    reasons: list[ReasonReply] | None = None
    model_version: str | None = None
    policy_version: str | None = None
    scored_at: datetime | None = None


# The fields that are null until there is a decision.
DECIDED = ("decision", "score", "reasons", "model_version", "policy_version", "scored_at")


class Receipts(Reply):
    """Payments that were taken in, in the order of the request."""

    data: list[Receipt]


class LabelsTaken(Reply):
    """How many labels were taken in."""

    accepted: int


def one_or_many(body: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """The request body of a route that takes one such message or an array of them, for OpenAPI."""
    schema = body.model_json_schema()
    many = {"type": "array", "items": schema, "minItems": 1, "maxItems": MOST}
    content = {"schema": {"anyOf": [schema, many]}, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}

"""Rows as the dataflow would have written them, for tests of what reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from psycopg import Connection
from psycopg.types.json import Jsonb

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
REASON = {
    "code": "terminal_fraud_7d",
    "weight": 1.25,
    "text": "3 frauds at this terminal in 7 days",
}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def put_score(conn: Connection, transaction_id: str, seconds: float, **given: Any) -> None:
    row = {
        "transaction_id": transaction_id,
        "event_time": at(seconds),
        "card_token": "card-1",
        "terminal_id": "terminal-1",
        "amount_minor": 1234,
        "currency": "EUR",
        "merchant_id": None,
        "customer_id": None,
        "channel": None,
        "details": None,
        "score": 0.01,
        "log_odds": -4_000_000,
        "decision": "approve",
        "model_version": "v1",
        "policy_version": "p1",
        "features": np.array([0.1, 2.5, np.nan], dtype="<f4").tobytes(),
        "reasons": Jsonb([]),
        "scored_at": datetime.now(UTC),
        "stream_time": at(seconds),
    }
    _insert(conn, "score", row | given)


def put_alert(conn: Connection, seconds: float, **given: Any) -> UUID:
    """An alert whose `created_at` is as many seconds after START as its `event_time`."""
    alert_id: UUID = given.pop("alert_id", None) or uuid4()
    row = {
        "alert_id": alert_id,
        "transaction_id": f"t-{alert_id}",
        "event_time": at(seconds),
        "card_token": "card-1",
        "terminal_id": "terminal-1",
        "merchant_id": None,
        "amount_minor": 43000,
        "currency": "EUR",
        "score": 0.875,
        "decision": "review",
        "reasons": Jsonb([REASON]),
        "model_version": "v1",
        "status": "open",
        "created_at": at(seconds),
    }
    _insert(conn, "alert", row | given)
    return alert_id


def put_comment(conn: Connection, alert_id: UUID, **given: Any) -> None:
    row = {"alert_id": alert_id, "author": "ann", "text": "called the card's owner"}
    _insert(conn, "alert_comment", row | given)


def put_webhook(conn: Connection, webhook_id: UUID | None = None, **given: Any) -> UUID:
    row = {
        "webhook_id": webhook_id or uuid4(),
        "url": "https://hooks.example.com/tidegate",
        "description": "",
        "kinds": ["alert.created", "alert.changed"],
        "secret": "plain:whsec_secret",
        "created_by": "ann",
    }
    _insert(conn, "webhook", row | given)
    return UUID(str(row["webhook_id"]))


def put_delivery(conn: Connection, webhook_id: UUID, event_id: str, **given: Any) -> None:
    row = {"webhook_id": webhook_id, "event_id": event_id, "kind": "alert.created", "body": "{}"}
    _insert(conn, "webhook_delivery", row | given)


def put_label(conn: Connection, transaction_id: str, seconds: float, **given: Any) -> None:
    row = {
        "transaction_id": transaction_id,
        "labelled_at": at(seconds),
        "source": "chargeback",
        "fraud": True,
        "reason": None,
    }
    _insert(conn, "label", row | given)


def put_dead_letter(conn: Connection, offset: int, **given: Any) -> None:
    row = {
        "topic": "transactions",
        "partition": 0,
        "offset": offset,
        "at": at(offset),
        "reason": "malformed",
        "field": None,
        "detail": "not JSON",
        "payload": "{",
    }
    _insert(conn, "dead_letter", row | given)


def put_version(conn: Connection, version: str, seconds: float, **given: Any) -> None:
    row = {
        "version": version,
        "name": "champion",
        "stream_time": at(seconds),
        "content": b"",
        "examples": 1000,
        "frauds": 8,
    }
    _insert(conn, "model_version", row | given)


def put_metric(conn: Connection, metric: str, seconds: float, value: float, **given: Any) -> None:
    row = {"name": "champion", "metric": metric, "at": at(seconds), "value": value, "examples": 100}
    _insert(conn, "model_metric", row | given)


def put_model(conn: Connection, name: str, **given: Any) -> None:
    row = {
        "name": name,
        "description": f"what {name} is",
        "servable": True,
        "running": True,
        "started_at": START,
    }
    _insert(conn, "model", row | given)


def put_promotion(conn: Connection, model: str, before: str, **given: Any) -> None:
    _insert(conn, "promotion", {"model": model, "before": before, "actor": "cli:ann"} | given)


def _insert(conn: Connection, table: str, row: dict[str, Any]) -> None:
    columns = ", ".join(f'"{name}"' for name in row)
    places = ", ".join(f"%({name})s" for name in row)
    conn.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", row)

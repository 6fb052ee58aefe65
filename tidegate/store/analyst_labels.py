"""What an analyst's outcome teaches: a closed alert that was fraud, or genuine, is a label.

Every outcome that is set passes `tell`, in the transaction that sets it: by a change of the alert,
by its disposition, or by its case. One that is changed later is told again, with a newer time, and
the newest stands. What is opened again, or unclear after all, takes no label back: there is no
label that says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypedDict

from tidegate.store import inbox
from tidegate.store.alerts import Alert
from tidegate.store.connection import Conn

SOURCE = "analyst"

# Not now(), when the transaction began: of two at once the one that waited for the other began
# first, maybe, and what it says is nevertheless newer.
AT = "SELECT clock_timestamp()"


class LabelMessage(TypedDict):
    """A label as the contract has it."""

    transaction_id: str
    fraud: bool
    source: str
    labelled_at: str  # RFC 3339, UTC
    reason: str


def label_of(alert: Alert, outcome: str | None, at: datetime) -> LabelMessage | None:
    """The label that this outcome, set at this moment (aware), is for the alert's payment; None
    where it says neither fraud nor genuine."""
    if outcome not in ("fraud", "genuine"):
        return None
    return {
        "transaction_id": alert.transaction_id,
        "fraud": outcome == "fraud",
        "source": SOURCE,
        "labelled_at": at.astimezone(UTC).isoformat(),
        "reason": f"alert {alert.alert_id} closed as {outcome}",
    }


def closed(conn: Conn, alerts: Sequence[Alert]) -> None:
    """Tells the labels of alerts whose outcome was just set, and which are locked by that."""
    (at,) = conn.execute(AT).fetchone() or (datetime.now(UTC),)
    labels = [label for alert in alerts if (label := label_of(alert, alert.outcome, at))]
    if labels:
        tell(conn, labels)


def tell(conn: Conn, labels: Sequence[LabelMessage]) -> None:
    """Puts labels into the inbox, which the scoring flow reads, in this transaction."""
    inbox.lock(conn)
    messages = [json.dumps(label) for label in labels]
    inbox.put_labels(conn, [label["transaction_id"] for label in labels], messages)

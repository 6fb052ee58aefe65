"""Messages put into the inbox, as the API does."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tidegate.store import connection, inbox


def put(database: str, payments: Sequence[bytes], labels: Sequence[bytes] = ()) -> None:
    """Puts payments, then labels, all in one transaction."""
    with connection.connect(database, application_name="test") as conn:
        inbox.lock(conn)
        ids = _ids(payments)
        inbox.put_payments(conn, ids, [0] * len(ids), _texts(payments))
        inbox.put_labels(conn, _ids(labels), _texts(labels))


def _ids(messages: Sequence[bytes]) -> list[str]:
    return [json.loads(message)["transaction_id"] for message in messages]


def _texts(messages: Sequence[bytes]) -> list[str]:
    return [message.decode() for message in messages]

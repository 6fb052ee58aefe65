"""Labels as they arrived, none overwritten: the view `standing_label` says which one holds."""

from __future__ import annotations

from tidegate.schema import Labels
from tidegate.store.connection import Conn, Micros

WRITE = """
INSERT INTO label (transaction_id, labelled_at, fraud, source, reason)
SELECT *
FROM unnest(
    %(transaction_id)s::text[], %(labelled_at)b::timestamptz[], %(fraud)s::boolean[],
    %(source)s::text[], %(reason)s::text[]
)
ON CONFLICT DO NOTHING
"""


def write(conn: Conn, labels: Labels) -> None:
    """Writes the labels. One that is there already (same transaction, time and source) stays as it
    is; the first one wins."""
    if len(labels) == 0:
        return
    conn.execute(
        WRITE,
        {
            "transaction_id": labels.transaction_id.tolist(),
            "labelled_at": [Micros(at) for at in labels.labelled_at.tolist()],
            "fraud": labels.fraud.tolist(),
            "source": [str(source) for source in labels.source],
            "reason": labels.reason.tolist(),
        },
    )

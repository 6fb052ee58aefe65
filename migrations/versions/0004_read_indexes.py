"""Indexes in the order of every list's pages: of alerts, of what was not approved, of dead letters.

A page of a card's alerts, say, is then read from one place of one index, however many there are.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ADDED = (
    "CREATE INDEX alert_of_card ON alert (card_token, created_at DESC, alert_id)",
    "CREATE INDEX alert_of_terminal ON alert (terminal_id, created_at DESC, alert_id)",
    "CREATE INDEX alert_score ON alert (score DESC, alert_id)",
    "CREATE INDEX alert_status_score ON alert (status, score DESC, alert_id)",
    # Small, as most payments are approved.
    """
    CREATE INDEX score_flagged ON score (decision, event_time DESC) WHERE decision <> 'approve'
    """,
    "CREATE INDEX dead_letter_of_reason ON dead_letter (reason, id)",
    "CREATE INDEX dead_letter_of_topic ON dead_letter (topic, id)",
    "CREATE INDEX dead_letter_at ON dead_letter (at)",  # for its retention
    "CREATE INDEX dead_letter_waiting ON dead_letter (id) WHERE replayed_at IS NULL",
)
REPLACED = {
    "alert_card": "alert (card_token, event_time DESC)",
    "alert_terminal": "alert (terminal_id, event_time DESC)",
    "dead_letter_reason": "dead_letter (reason, at)",
}


def upgrade() -> None:
    for statement in ADDED:
        op.execute(statement)
    for name in REPLACED:
        op.execute(f"DROP INDEX {name}")


def downgrade() -> None:
    for name, place in REPLACED.items():
        op.execute(f"CREATE INDEX {name} ON {place}")
    for statement in ADDED:
        op.execute(f"DROP INDEX {statement.split()[2]}")

"""What comes over HTTP, and what analysts say of payments, until the scoring flow has read it.

A plain table on TimescaleDB too: its rows are read once, in the order of their numbers, and go days
later.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Numbers are in the order of commits: see `tidegate.store.inbox`.
INBOX = """
CREATE TABLE inbox (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('payments', 'labels')),
    at timestamptz NOT NULL,
    transaction_id text NOT NULL,
    content bigint,
    message text NOT NULL
)
"""

# How far a flow has read each kind, as its last snapshot but one has it: the number it goes on at.
READ = """
CREATE TABLE inbox_read (
    kind text PRIMARY KEY,
    number bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
)
"""

IDEMPOTENCY = """
CREATE TABLE idempotency_key (
    caller text NOT NULL,
    key text NOT NULL,
    digest bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, key)
)
"""

INDEXES = (
    "CREATE INDEX inbox_of_kind ON inbox (kind, number)",
    "CREATE UNIQUE INDEX inbox_payment ON inbox (transaction_id) WHERE kind = 'payments'",
    "CREATE INDEX inbox_by_time ON inbox (at)",
    "CREATE INDEX idempotency_key_by_time ON idempotency_key (at)",
)


def upgrade() -> None:
    """Adds the tables."""
    for statement in (INBOX, READ, IDEMPOTENCY, *INDEXES):
        op.execute(statement)


def downgrade() -> None:
    """Drops them, and what a flow has not read yet with them."""
    op.execute("DROP TABLE idempotency_key")
    op.execute("DROP TABLE inbox_read")
    op.execute("DROP TABLE inbox")
